"""Where HTTP goes."""

urlpatterns = []
