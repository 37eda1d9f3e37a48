"""A function that goes through django-jaiminho. Its rows name this module."""

from django.db import connection
from jaiminho.constants import PublishStrategyType
from jaiminho.send import save_to_outbox_stream


@save_to_outbox_stream("bills", PublishStrategyType.KEEP_ORDER)
def charge(order, email):
    with connection.cursor() as cursor:
        cursor.execute("insert into effects (order_id, by) values (%s, 'django')", [order])
