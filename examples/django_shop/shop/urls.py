from django.urls import path

from shop.views import look, pay

urlpatterns = [path("pay/<customer>/", pay), path("look/<int:order>/<counted>/", look)]
