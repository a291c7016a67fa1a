"""HTTP as RFC 9110 and 9112 have it, over a socket."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import time
from email.message import Message
from email.parser import BytesParser
from email.utils import formatdate, parsedate_to_datetime

import pytest

KERNEL = "/stable/x86_64/kernel"


@pytest.fixture
def kernel(served):
    return served.get(KERNEL)


def parts_of(answer) -> list[Message]:
    head = f"Content-Type: {answer.fields['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + answer.body)
    assert message.is_multipart()
    return message.get_payload()


def test_an_artifact_comes_whole_with_all_that_proves_it(kernel) -> None:
    digest = hashlib.sha256(kernel.body).digest()
    assert kernel.status == 200
    assert kernel.fields["content-length"] == str(len(kernel.body))
    assert kernel.fields["accept-ranges"] == "bytes"
    assert kernel.fields["etag"] == f'"{digest.hex()}"'
    assert kernel.fields["x-artifact-hash"] == f"sha256:{digest.hex()}"
    assert kernel.fields["repr-digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"


def test_head_says_the_same_and_sends_nothing(served, kernel) -> None:
    head = served.get(KERNEL, method="HEAD")
    assert head.body == b""
    assert {**head.fields, "date": ""} == {**kernel.fields, "date": ""}


def test_head_passes_over_a_range(served, kernel) -> None:
    head = served.get(KERNEL, {"Range": "bytes=0-9"}, method="HEAD")
    assert (head.status, head.fields["content-length"]) == (200, str(len(kernel.body)))


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-9", 0, 9), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5-99999999999", 5, None)],
)
def test_one_range(served, kernel, asked: str, first: int, last: int | None) -> None:
    answer = served.get(KERNEL, {"Range": asked})
    size = len(kernel.body)
    start, end = first % size, size - 1 if last is None else last
    assert answer.status == 206
    assert answer.body == kernel.body[start : end + 1]
    assert answer.fields["content-range"] == f"bytes {start}-{end}/{size}"
    assert answer.fields["content-length"] == str(len(answer.body))
    assert answer.fields["etag"] == kernel.fields["etag"]
    assert answer.fields["repr-digest"] == kernel.fields["repr-digest"]


def test_several_ranges_come_as_parts(served, kernel) -> None:
    answer = served.get(KERNEL, {"Range": "bytes=50000-50009,0-4,-3"})
    size = len(kernel.body)
    assert answer.status == 206
    assert answer.fields["content-length"] == str(len(answer.body))
    parts = parts_of(answer)
    assert [part["Content-Range"] for part in parts] == [
        f"bytes 50000-50009/{size}",
        f"bytes 0-4/{size}",
        f"bytes {size - 3}-{size - 1}/{size}",
    ]
    assert [part.get_payload(decode=True) for part in parts] == [
        kernel.body[50000:50010],
        kernel.body[:5],
        kernel.body[-3:],
    ]


def test_a_range_that_cannot_be_says_how_long_the_file_is(served, kernel) -> None:
    answer = served.get(KERNEL, {"Range": f"bytes={len(kernel.body)}-"})
    assert answer.status == 416
    assert answer.fields["content-range"] == f"bytes */{len(kernel.body)}"
    assert "error" in json.loads(answer.body)


def test_a_range_in_another_unit_is_passed_over(served, kernel) -> None:
    assert served.get(KERNEL, {"Range": "pages=1-2"}).body == kernel.body


def test_a_client_that_has_it_is_told_so(served, kernel) -> None:
    for field in (kernel.fields["etag"], f'"x", W/{kernel.fields["etag"]}', "*"):
        answer = served.get(KERNEL, {"If-None-Match": field})
        assert (answer.status, answer.body, answer.fields["etag"]) == (304, b"", kernel.fields["etag"])
    assert served.get(KERNEL, {"If-None-Match": '"x"'}).body == kernel.body


def test_a_client_that_wants_another_is_told_so(served, kernel) -> None:
    assert served.get(KERNEL, {"If-Match": '"x"'}).status == 412
    assert served.get(KERNEL, {"If-Match": f'"x", {kernel.fields["etag"]}'}).status == 200


def test_a_range_goes_on_only_with_the_same_file(served, kernel) -> None:
    etag = kernel.fields["etag"]
    asked = {"Range": "bytes=0-9"}
    assert served.get(KERNEL, {**asked, "If-Range": etag}).status == 206
    for other in ('"x"', f"W/{etag}", "Sat, 28 Nov 2026 05:00:00 GMT"):
        assert served.get(KERNEL, {**asked, "If-Range": other}).body == kernel.body


def dated(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


@pytest.mark.parametrize("path", [KERNEL, "/stable/x86_64/manifest.json", "/metadata/timestamp.json"])
def test_what_is_signed_says_since_when_it_is(served, path: str) -> None:
    answer = served.get(path)
    since = int(parsedate_to_datetime(answer.fields["last-modified"]).timestamp())
    assert since <= time.time()
    for date in (since, since + 1):
        again = served.get(path, {"If-Modified-Since": dated(date)})
        assert (again.status, again.body, again.fields["last-modified"]) == (304, b"", answer.fields["last-modified"])
        assert served.get(path, {"If-Unmodified-Since": dated(date)}).body == answer.body
    assert served.get(path, {"If-Modified-Since": dated(since - 1)}).body == answer.body
    assert served.get(path, {"If-Unmodified-Since": dated(since - 1)}).status == 412


def test_what_is_no_date_is_passed_over(served, kernel) -> None:
    for field in ("yesterday", "Sat, 28 Nov 2026", "0"):
        assert served.get(KERNEL, {"If-Modified-Since": field}).body == kernel.body
        assert served.get(KERNEL, {"If-Unmodified-Since": field}).body == kernel.body


def test_a_tag_counts_more_than_a_date(served, kernel) -> None:
    since = {"If-Modified-Since": kernel.fields["last-modified"]}
    assert served.get(KERNEL, {**since, "If-None-Match": '"x"'}).body == kernel.body
    assert served.get(KERNEL, {"If-Unmodified-Since": dated(0), "If-Match": "*"}).body == kernel.body


def test_slashes_that_follow_each_other_count_as_one(served, kernel) -> None:
    for path in (f"/{KERNEL}", "/stable//x86_64///kernel", f"{KERNEL}/"):
        answer = served.get(path)
        assert (answer.status, answer.body) == (200, kernel.body)


def test_a_range_that_ends_far_beyond_the_file_is_its_rest(served, kernel) -> None:
    answer = served.get(KERNEL, {"Range": "bytes=1-18446744073709551616"})
    assert (answer.status, answer.body) == (206, kernel.body[1:])


def test_several_requests_share_a_connection(served, kernel) -> None:
    connection = http.client.HTTPConnection(served.host, served.port, timeout=20)
    for path, size in ((KERNEL, len(kernel.body)), ("/nothing", None), (KERNEL, len(kernel.body))):
        connection.request("GET", path)
        response = connection.getresponse()
        assert (len(response.read()) == size) == (size is not None)
        local = connection.sock.getsockname()
    assert connection.sock.getsockname() == local
    connection.close()


def test_requests_in_one_packet_are_answered_in_order(served) -> None:
    request = b"HEAD /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    answered = served.say(request % b"stable/x86_64/kernel" + request % b"nothing" + request % b"health")
    assert [line.split()[1] for line in answered.splitlines() if line.startswith(b"HTTP/")] == [b"200", b"404", b"200"]


def test_an_old_client_is_answered_and_let_go(served, kernel) -> None:
    answered = served.say(b"GET /stable/x86_64/kernel HTTP/1.0\r\n\r\n")
    head, _, body = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close" in head
    assert body == kernel.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_other_methods_are_not_allowed(served, method: str) -> None:
    answer = served.get(KERNEL, method=method)
    assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")
    assert "error" in json.loads(answer.body)


def test_a_request_with_content_is_refused_and_its_content_is_no_request(served) -> None:
    smuggled = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    answered = served.say(
        b"GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(smuggled), smuggled)
    )
    assert answered.startswith(b"HTTP/1.1 413 ")
    assert answered.count(b"HTTP/1.1 ") == 1


def test_a_refusal_of_head_has_no_content(served) -> None:
    answered = served.say(b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
    assert answered.startswith(b"HTTP/1.1 413 ")
    assert answered.endswith(b"\r\n\r\n")


def test_what_is_no_http_after_head_is_refused_with_a_reason(served) -> None:
    answered = served.say(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET\r\n\r\n")
    assert answered.count(b"HTTP/1.1 ") == 2
    assert b"error" in answered.rpartition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("path", ["/nothing", "/stable/x86_64/nothing", "/a/b/c/d/e", "/stable/x86_64/"])
def test_what_is_not_there_is_not_found_in_json(served, path: str) -> None:
    answer = served.get(path)
    assert (answer.status, answer.fields["content-type"]) == (404, "application/json")
    assert isinstance(json.loads(answer.body)["error"], str)


def test_fields_that_are_too_long_are_refused(served) -> None:
    answered = served.say(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 431 ")


def test_what_is_no_http_is_refused(served) -> None:
    assert served.say(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_client_that_asks_too_often_is_told_to_wait(served_with) -> None:
    served = served_with(requests_per_second=3.0)
    answered = served.say(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 8)
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answered)]
    assert statuses[:3] == [200, 200, 200]
    assert statuses[3:].count(429) >= 4
