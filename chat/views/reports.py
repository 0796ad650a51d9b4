"""The REST view that takes reports of messages."""

import msgspec
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat import services
from chat.moderation.reports import REPORT_LIMIT, report_message
from chat.runtime.database import until_unlocked
from chat.wire.client_frames import ReportPost
from chat.wire.server_frames import Problem, ReportBody, ReportProblem, report_body


class ReportView(APIView):
    """Reporting a message to the school's staff."""

    @extend_schema(
        request=ReportPost,
        responses={
            200: OpenApiResponse(ReportBody, "Reported by this user before; the first report stands."),
            201: OpenApiResponse(ReportBody, "Stored, with a copy of the message and its neighbours."),
            400: (ReportProblem, Problem),
            404: "Not a message of a conversation of this user.",
            429: f"More than {REPORT_LIMIT} reports of this user in 24 hours.",
        },
    )
    def post(self, request: Request, message_pk: int) -> Response:
        """Report a message of the other side."""
        user = services.signed_in(request.user)
        body = request.data
        report, is_new = until_unlocked(report_message, user=user, message_id=message_pk, body=body)
        return Response(msgspec.to_builtins(report_body(report)), status=201 if is_new else 200)
