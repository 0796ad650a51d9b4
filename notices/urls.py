"""The notices' REST paths, under `/api/v1/notify/`."""

from django.urls import path

from notices import views

app_name = "notify"
urlpatterns = [
    path("push-key/", views.PushKeyView.as_view(), name="push-key"),
    path("subscriptions/", views.SubscriptionsView.as_view(), name="subscriptions"),
    path("unsubscribe/<str:token>/", views.UnsubscribeView.as_view(), name="unsubscribe"),
]
