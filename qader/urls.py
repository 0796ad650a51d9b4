"""The URLs of the project."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.i18n import set_language

from qader.http import documents, health, views
from qader.observability import metrics_view

v1: list[URLPattern | URLResolver] = [
    path("auth/", include("accounts.urls")),
    path("chat/", include("chat.urls")),
    path("notify/", include("notices.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.page, name="page"),
    path("api/", include(([path("v1/", include((v1, "v1")))], "api"))),
    path("api/schema/", documents.SchemaView.as_view(), name="schema"),
    path("api/docs/", documents.DocsView.as_view(), name="docs"),
    path("api/asyncapi.yaml", documents.asyncapi_yaml, name="asyncapi"),
    path("admin/", admin.site.urls),
    path("i18n/setlang/", set_language, name="set_language"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics_view.metrics, name="metrics"),
]

handler400 = "qader.http.views.bad_request"
handler403 = "qader.http.views.forbidden"
handler404 = "qader.http.views.not_found"
handler500 = "qader.http.views.server_error"
