"""What each request of a WSGI application costs: latency, CPU seconds and memory, by method, route and status.

    app.wsgi_app = Middleware(app.wsgi_app, route=flask_route, metrics_path="/metrics")

Any application (Flask, Django, a function) on any server with threads or processes. docs/ml_service.md says what is
counted and what is not.
"""

from heflwr.monitor.wsgi.figures import Distribution, RequestFigures
from heflwr.monitor.wsgi.middleware import Middleware
from heflwr.monitor.wsgi.routes import flask_route

__all__ = ["Distribution", "Middleware", "RequestFigures", "flask_route"]
