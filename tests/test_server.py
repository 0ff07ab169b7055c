from __future__ import annotations

import gzip
import http.client
import socket

import pytest

from anthropic_exporter import ConfigurationError, serve


@pytest.fixture
def server(recorder, call):
    recorder.record(call(output=171))
    with serve(recorder, port=0) as running:
        yield running


def get(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_metrics_are_served_as_text(server):
    response, body = get(server, "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'type="output",user=""} 171.0\n' in body


def test_metrics_are_served_as_openmetrics_where_asked_for(server):
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
    response, body = get(server, "/metrics", Accept=accept)
    assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body.endswith(b"# EOF\n")


def test_metrics_are_gzipped_where_accepted(server):
    response, body = get(server, "/metrics", **{"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert b"anthropic_tokens_total" in gzip.decompress(body)


def test_a_query_does_not_matter(server):
    assert get(server, "/metrics?name=x")[0].status == 200


def test_health_landing_page_and_the_rest(server):
    assert get(server, "/-/healthy")[1] == b"healthy\n"
    assert b'<a href="/metrics">' in get(server, "/")[1]
    assert get(server, "/favicon.ico")[0].status == 404


def test_head_has_no_body(server):
    response, body = get(server, "/metrics", method="HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) > 1000


def test_one_connection_takes_many_scrapes(server):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/metrics")
        assert b"anthropic_tokens_total" in connection.getresponse().read()
    connection.close()


def test_it_binds_loopback_unless_told_otherwise(server):
    assert server.host == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.port}"


def test_a_taken_port_is_one_clear_error(server, recorder):
    with pytest.raises(ConfigurationError) as caught:
        serve(recorder, port=server.port)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{server.port}: the port is in use by another process; "
        "stop it or choose another port (0 picks a free one)"
    )


@pytest.mark.parametrize("port", [-1, 65_536, "9464", None, True])
def test_a_wrong_port_is_one_clear_error(recorder, port):
    with pytest.raises(ConfigurationError, match="is no TCP port: give a number from 0"):
        serve(recorder, port=port)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "x" * 300])
def test_a_wrong_address_is_one_clear_error(recorder, host):
    with pytest.raises(ConfigurationError, match=r"cannot listen on .*: .*use 127\.0\.0\.1"):
        serve(recorder, port=0, host=host)


def test_ipv6_loopback(recorder):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    try:
        running = serve(recorder, port=0, host="::1")
    except ConfigurationError:
        pytest.skip("no IPv6 loopback on this machine")
    with running:
        assert running.url == f"http://[::1]:{running.port}"
        assert get(running, "/-/healthy")[0].status == 200


def test_the_port_is_free_after_close_and_closing_twice_is_fine(recorder):
    first = serve(recorder, port=0)
    first.close()
    first.close()
    with serve(recorder, port=first.port) as second:
        assert second.port == first.port
