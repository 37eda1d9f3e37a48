"""A Django service as small as it can be; where its servers are comes from the environment."""

import os
from urllib.parse import unquote, urlsplit

database = urlsplit(os.environ["DATABASE_URL"])
broker = urlsplit(os.environ["STOMP_URL"])

SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_outbox_pattern"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.path.lstrip("/"),
        "USER": unquote(database.username or ""),
        "PASSWORD": unquote(database.password or ""),
        "HOST": database.hostname or "",
        "PORT": database.port or "",
    }
}
DJANGO_OUTBOX_PATTERN = {
    "DEFAULT_STOMP_HOST_AND_PORTS": [(broker.hostname, broker.port or 61613)],
    "DEFAULT_STOMP_USERNAME": unquote(broker.username or "guest"),
    "DEFAULT_STOMP_PASSCODE": unquote(broker.password or "guest"),
    "DEFAULT_STOMP_VHOST": unquote(broker.path.lstrip("/")) or "/",
}
LOGGING = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django_outbox_pattern": {"handlers": ["console"], "level": "INFO"}},
}
