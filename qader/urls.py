"""Where HTTP goes."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from qader import health, views

v1: list[URLPattern | URLResolver] = [
    path("auth/", include("accounts.urls")),
    path("chat/", include("chat.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.page, name="page"),
    path("api/", include(([path("v1/", include((v1, "v1")))], "api"))),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]

handler404 = "qader.views.not_found"
handler500 = "qader.views.server_error"
