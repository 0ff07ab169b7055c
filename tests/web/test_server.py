from __future__ import annotations

import gzip
import http.client
import select
import socket
from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest

from anthropic_exporter import Call, ConfigurationError, Recorder, ServiceHandle, serve
from anthropic_exporter.web.routes import Answer, Request, Route, refusal


@pytest.fixture
def server(recorder: Recorder, call: Callable[..., Call]) -> Iterator[ServiceHandle]:
    recorder.record(call(output=171))
    with serve(recorder, port=0) as running:
        yield running


def get(
    server: ServiceHandle, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_metrics_are_served_as_text(server: ServiceHandle) -> None:
    response, body = get(server, "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'type="output",user=""} 171.0\n' in body


def test_metrics_are_served_as_openmetrics_where_asked_for(server: ServiceHandle) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
    response, body = get(server, "/metrics", Accept=accept)
    assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body.endswith(b"# EOF\n")


def test_metrics_are_gzipped_where_accepted(server: ServiceHandle) -> None:
    response, body = get(server, "/metrics", **{"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert b"anthropic_tokens_total" in gzip.decompress(body)


def test_a_query_does_not_matter(server: ServiceHandle) -> None:
    assert get(server, "/metrics?name=x")[0].status == 200


def test_health_landing_page_and_the_rest(server: ServiceHandle) -> None:
    assert get(server, "/-/healthy")[1] == b"healthy\n"
    assert b'<a href="/metrics">' in get(server, "/")[1]
    assert get(server, "/favicon.ico")[0].status == 404


def test_head_has_no_body(server: ServiceHandle) -> None:
    response, body = get(server, "/metrics", method="HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) > 1000


def test_one_connection_takes_many_scrapes(server: ServiceHandle) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/metrics")
        assert b"anthropic_tokens_total" in connection.getresponse().read()
    connection.close()


def test_it_binds_loopback_by_default(server: ServiceHandle) -> None:
    assert server.host == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.port}"


def test_a_taken_port_is_one_clear_error(server: ServiceHandle, recorder: Recorder) -> None:
    with pytest.raises(ConfigurationError) as caught:
        serve(Recorder(registry=None), port=server.port, required=True)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{server.port}: the port is in use; "
        "stop the program that uses it, or choose another port (0 picks a free one)"
    )


@pytest.mark.parametrize("port", [-1, 65_536, "9464", None, True])
def test_a_wrong_port_is_one_clear_error(recorder: Recorder, port: int | str | None) -> None:
    with pytest.raises(ConfigurationError, match="is not a TCP port: give a number from 0"):
        serve(recorder, port=port)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "x" * 300])
def test_a_wrong_address_is_one_clear_error(recorder: Recorder, host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on .*: .*use 127\.0\.0\.1"):
        serve(recorder, port=0, host=host)


def test_ipv6_loopback(recorder: Recorder) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    try:
        running = serve(recorder, port=0, host="::1")
    except ConfigurationError:
        pytest.skip("no IPv6 loopback on this machine")
    with running:
        assert running.url == f"http://[::1]:{running.port}"
        assert get(running, "/-/healthy")[0].status == 200


def test_the_port_is_free_after_close_and_closing_twice_is_fine(recorder: Recorder) -> None:
    first = serve(recorder, port=0)
    first.close()
    first.close()
    with serve(recorder, port=first.port) as second:
        assert second.port == first.port


# -- what is mounted beside


POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def echo(request: Request) -> Answer:
    return Answer(HTTPStatus.OK, "text/plain", request.body or request.query.encode(), (("X-Echo", "1"),))


def locked(headers: dict[str, str]) -> Answer | None:
    return None if headers.get("authorization") == "Bearer key" else refusal(HTTPStatus.UNAUTHORIZED, "no")


@pytest.fixture
def mounted(recorder: Recorder) -> Iterator[ServiceHandle]:
    routes = (
        Route("/echo", echo, title="says it <again>"),
        Route("/echo", echo, method="POST", max_body_bytes=100),
        Route("/locked", echo, method="POST", max_body_bytes=100, admit=locked),  # type: ignore[arg-type]
    )
    with serve(recorder, port=0, routes=routes) as running:
        yield running


def post(server: ServiceHandle, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", **headers}
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request("POST", path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def raw(server: ServiceHandle, *sent: bytes) -> bytes:
    """What comes back on a connection that sends these bytes and then waits."""
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        for part in sent:
            connection.sendall(part)
        return connection.makefile("rb").read()


def test_a_mounted_route_responds_with_its_headers_and_is_on_the_landing_page(mounted: ServiceHandle) -> None:
    response, body = get(mounted, "/echo?name=x")
    assert (body, response.headers["X-Echo"]) == (b"name=x", "1")
    assert b'<a href="/echo">/echo</a> says it &lt;again&gt;' in get(mounted, "/")[1]
    assert b"/locked" not in get(mounted, "/")[1]


def test_a_body_is_handed_on_whole(mounted: ServiceHandle) -> None:
    assert post(mounted, "/echo", b"hello") == (200, b"hello")


def test_one_connection_takes_a_body_and_then_a_scrape(mounted: ServiceHandle) -> None:
    connection = http.client.HTTPConnection(mounted.host, mounted.port, timeout=10)
    connection.request("POST", "/echo", body=b"hello", headers={"Content-Type": "application/json"})
    assert connection.getresponse().read() == b"hello"
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("path", ["/metrics", "/locked"])
def test_the_wrong_method_says_which_is_right(mounted: ServiceHandle, path: str) -> None:
    method = "GET" if path == "/locked" else "POST"
    response, _ = get(mounted, path, method=method)
    assert (response.status, response.headers["Allow"]) == (405, {"GET": "POST", "POST": "GET"}[method])


def test_a_large_body_is_refused_and_the_refusal_is_read(mounted: ServiceHandle) -> None:
    assert post(mounted, "/echo", b"x" * 101) == (413, b"the body may have at most 100 bytes\n")
    assert post(mounted, "/echo", b"x" * 10_000_000)[0] == 413
    assert post(mounted, "/nowhere", b"x" * 10_000_000)[0] == 404


def test_the_key_is_asked_for_before_the_body_is_read(mounted: ServiceHandle) -> None:
    assert post(mounted, "/locked", b"x" * 10_000_000) == (401, b"no\n")
    assert raw(mounted, POST.replace(b"/echo", b"/locked") + b"Content-Length: 50\r\n\r\n").startswith(b"HTTP/1.1 401 ")
    assert post(mounted, "/locked", b"x", Authorization="Bearer key") == (200, b"x")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Transfer-Encoding: chunked", b"411"),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"411"),
        (b"Accept: */*", b"411"),
        (b"Content-Length: five", b"400"),
        (b"Content-Length: -5", b"400"),
        (b"Content-Length: " + b"9" * 5000, b"413"),
    ],
)
def test_a_body_of_unknown_length_is_refused(mounted: ServiceHandle, header: bytes, status: bytes) -> None:
    answer = raw(mounted, POST + header + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in answer


def test_a_slow_sender_is_cut_off_and_delays_no_scrape(mounted: ServiceHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounted._server._loop, "_limits", mounted._server._loop._limits._replace(body_seconds=2.0))  # type: ignore[attr-defined]
    with socket.create_connection((mounted.host, mounted.port), timeout=10) as slow:
        slow.sendall(POST + b"Content-Length: 50\r\n\r\nhel")
        assert get(mounted, "/metrics")[0].status == 200
        assert not select.select([slow], [], [], 0)[0]
        assert slow.makefile("rb").read().startswith(b"HTTP/1.1 408 ")


def test_a_failing_handler_is_answered_with_500_and_counted() -> None:
    quiet = Recorder(registry=None)

    def fail(_: Request | dict[str, str]) -> None:
        raise ValueError("the text of a prompt")

    routes = [Route("/fail", fail), Route("/locked", echo, admit=fail)]  # type: ignore[arg-type]
    with serve(quiet, port=0, routes=routes) as running:
        for path in ("/fail", "/locked"):
            response, body = get(running, path)
            assert (response.status, body) == (500, b"failed; the application's log says where\n")
        assert b'anthropic_exporter_record_errors_total{stage="serve"} 2.0' in get(running, "/metrics")[1]


def test_two_routes_on_one_path_are_one_clear_error(recorder: Recorder) -> None:
    with pytest.raises(ConfigurationError, match="two routes serve GET /metrics; remove one of them"):
        serve(recorder, port=0, routes=[Route("/metrics", echo)])


def test_a_connection_that_was_kept_open_ends_with_the_server(recorder: Recorder) -> None:
    running = serve(recorder, port=0)
    kept = http.client.HTTPConnection(running.host, running.port, timeout=10)
    kept.request("GET", "/-/healthy")
    assert kept.getresponse().read() == b"healthy\n"
    running.close()
    assert kept.sock.recv(1) == b""
    kept.close()
