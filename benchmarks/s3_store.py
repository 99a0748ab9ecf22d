"""A real S3 server on loopback, with a door in front of it that can be told to fail requests, for tests and figures."""

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

__all__ = ["S3Store", "passes"]

Fault = Callable[[str, str], int | None]
"""Method and path with its query -> the status to fail with; None: the request passes."""


class S3Store:
    """Moto's server, which keeps objects in memory. It lists requests, and fails those that `fault` says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault = passes
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        """The variables with which a program finds it."""
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        self.requests.append((method, path))
        status = self.fault(method, path)
        if status is None:
            answer: Iterable[bytes] = self._application(environ, start_response)
            return answer
        start_response(f"{status} Failed", [("Content-Length", "0")])
        return []

    def reset(self) -> None:
        """Empties the bucket `corpus`, which is there, and lets every request pass."""
        self.fault = passes
        self._client.create_bucket(Bucket="corpus")
        for key in self.keys():
            self._client.delete_object(Bucket="corpus", Key=key)
        self.requests.clear()

    def keys(self) -> list[str]:
        """The names of all objects in the bucket."""
        return [each["Key"] for each in self._client.list_objects_v2(Bucket="corpus").get("Contents", [])]

    def get(self, key: str) -> bytes:
        """An object's bytes."""
        content: bytes = self._client.get_object(Bucket="corpus", Key=key)["Body"].read()
        return content

    def put(self, key: str, content: bytes) -> None:
        """Makes an object."""
        self._client.put_object(Bucket="corpus", Key=key, Body=content)

    def stop(self) -> None:
        """Ends the server."""
        self._client.close()
        self._server.shutdown()
        self._server.server_close()


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_request(self, *arguments: Any) -> None:
        """Says nothing."""


def passes(method: str, path: str) -> None:
    """No request fails."""
