# gunicorn takes the socket it inherits (LISTEN_FDS) and says when it is ready (NOTIFY_SOCKET) by itself:
#
#   envexec --env DB_PASSWORD=secret/db#password --listen web=tcp://:8080 \
#           --ready notify --on-change overlap -- gunicorn --workers 2 app:application
import os


def application(environ, start_response):
    start_response("200 OK", [
        ("Content-Type", "text/plain"),
        ("X-Generation", os.environ.get("ENVEXEC_GENERATION", "")),
    ])
    return [b"hello\n"]
