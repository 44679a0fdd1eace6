"""Reading curl's command line, and what is added to it: pure functions."""

import os

import pytest

from otel_kfs.errors import ConfigError
from otel_kfs.programs import curl_arguments
from otel_kfs.programs.curl_arguments import Option

pytestmark = pytest.mark.usefixtures("no_curlrc")

USAGE = """Usage: curl [options...] <url>
 -K, --config <file>      Read config from a file
 -d, --data <data>        HTTP POST data
     --data-binary <data> HTTP POST binary data
 -q, --disable            Disable .curlrc
 -f, --fail               Fail fast
     --fail-with-body     Fail, and save the body
 -G, --get                Put the post data in the URL and use GET
 -g, --globoff            Disable URL sequences and ranges using {} and []
 -I, --head               Show document info only
 -H, --header <header/@file> Pass custom header(s) to server
 -h, --help <category>    Get help for commands
 -0, --http1.0            Use HTTP 1.0
 -:, --next               Make next URL use its separate set of options
 -o, --output <file>      Write to file instead of stdout
 -X, --request <method>   Specify request method to use
     --retry <num>        Retry request if transient problems occur
 -s, --silent             Silent mode
     --stderr <file>      Where to redirect stderr
 -T, --upload-file <file> Transfer local FILE to destination
     --url <url>          URL to work with
 -v, --verbose            Make the operation more talkative
 -w, --write-out <format> Use output FORMAT after completion
"""
CURL = curl_arguments.describe(USAGE, (7, 88))
URL = "http://ingress/v1/models/m:predict"
FIELDS = {"traceparent", "tracestate", "baggage"}
MARKS = ("%{stderr}MARK", "MARK%{stdout}")
REPORT = "%{stderr}MARK%{json}MARK%{stdout}"


def read(*words):
    return curl_arguments.read(["curl", *words], CURL)


def test_the_usage_says_which_options_take_a_value():
    assert (CURL.shorts["d"], CURL.shorts["s"], CURL.shorts[":"], CURL.shorts["0"]) == (
        "data",
        "silent",
        "next",
        "http1.0",
    )
    assert [CURL.takes_value[name] for name in ("data", "url", "silent", "fail-with-body")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("words", "options", "urls"),
    [
        ([URL], [], [URL]),
        (["-s", URL], [("silent", None, 1, 1)], [URL]),
        (["-d", "-x", URL], [("data", "-x", 1, 2)], [URL]),
        (["-d@file", URL], [("data", "@file", 1, 1)], [URL]),
        (["-svd", "x", URL], [("silent", None, 1, 1), ("verbose", None, 1, 1), ("data", "x", 1, 2)], [URL]),
        (["-sXPUT", URL], [("silent", None, 1, 1), ("request", "PUT", 1, 1)], [URL]),
        (["--data", "x", "--url", URL], [("data", "x", 1, 2), ("url", URL, 3, 4)], [URL]),
        (["--verb", "--upload", "f", URL], [("verbose", None, 1, 1), ("upload-file", "f", 2, 3)], [URL]),
        (["--fail", URL], [("fail", None, 1, 1)], [URL]),
        (["--expand-data", "{{x}}", URL], [("data", "{{x}}", 1, 2)], [URL]),
        (["--", "-d"], [], ["-d"]),
        (["-d"], [("data", None, 1, 2)], []),
        (["-"], [], ["-"]),
        ([], [], []),
    ],
)
def test_words_are_read_as_curl_reads_them(words, options, urls):
    arguments = read(*words)
    assert (list(arguments.options), list(arguments.urls)) == ([Option(*option) for option in options], urls)


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ([], "GET"),
        (["-d", "x"], "POST"),
        (["-d", "x", "-G"], "GET"),
        (["-d", "x", "-X", "PUT"], "PUT"),
        (["-T", "file"], "PUT"),
        (["-I"], "HEAD"),
    ],
)
def test_the_method_follows_from_the_options(words, method):
    assert read(*words, URL).method == method


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([URL], ["--header", "a: 1", "--header", "b: 2", "--write-out", REPORT, URL]),
        (["-q", URL], ["-q", "--header", "a: 1", "--header", "b: 2", "--write-out", REPORT, URL]),
        (
            ["-qsw", "%{url}", URL],
            ["-qsw", "%{url}", "--header", "a: 1", "--header", "b: 2", "--write-out", f"{REPORT}%{{url}}", URL],
        ),
        (
            [URL, "-w", "1", "-sw2"],
            ["--header", "a: 1", "--header", "b: 2", URL, "-w", "1", "-sw2", "--write-out", f"{REPORT}2"],
        ),
        (["--", URL], ["--header", "a: 1", "--header", "b: 2", "--write-out", REPORT, "--", URL]),
    ],
)
def test_headers_and_report_are_added_and_nothing_is_taken_away(words, expected):
    assert curl_arguments.with_headers(read(*words), {"a": "1", "b": "2"}, *MARKS) == ["curl", *expected]


def test_without_a_report_only_headers_are_added():
    assert curl_arguments.with_headers(read("-w", "x", URL), {"a": "1"}) == [
        "curl",
        "--header",
        "a: 1",
        "-w",
        "x",
        URL,
    ]


def test_a_format_in_a_file_is_read_as_curl_does(tmp_path):
    (tmp_path / "format").write_bytes(b"%{url}\r\n\\n\n")
    added = curl_arguments.with_headers(read("-w", f"@{tmp_path}/format", URL), {}, *MARKS)
    assert added[3:5] == ["--write-out", f"{REPORT}%{{url}}\\n"]


def test_a_format_in_a_missing_file_is_an_error_of_one_line():
    with pytest.raises(ConfigError, match=r"^can't read curl's --write-out format nowhere: No such file or directory$"):
        curl_arguments.with_headers(read("-w", "@nowhere", URL), {}, *MARKS)


@pytest.mark.parametrize("url", [URL, "ingress/x", "http://[::1]:80/", "HTTPS://a/b"])
def test_one_http_request_can_be_traced(url):
    curl_arguments.check(read("-H", "Host: m.example.com", url), FIELDS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([URL, URL], "one request"),
        ([URL, "--next", URL], "one request"),
        ([URL, "-:", URL], "one request"),
        (["http://a/{b,c}"], "one request"),
        (["http://a/[1-9]"], "one request"),
        (["ftp://a/b"], "HTTP requests only"),
        (["-H", "traceparent: x", URL], "set the header traceparent"),
        (["-H", "traceparent;", URL], "set the header traceparent"),
        (["-HBAGGAGE:x", URL], "set the header baggage"),
    ],
)
def test_anything_else_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        curl_arguments.check(read(*words), FIELDS)


def test_braces_are_plain_text_without_globbing():
    curl_arguments.check(read("-g", "http://a/{b}"), FIELDS)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([URL], None),
        (["-w", "x", URL], None),
        (["--retry", "3", URL], "with --retry the attempts can't be told apart"),
        (["--stderr", "f", URL], "with --stderr the timings would land in its file"),
        (["-w", "@-", URL], "the --write-out format comes from standard input"),
        (["-w", "@other", URL], None),
        (["-w", "@missing", URL], "the --write-out format missing is no regular file, so curl alone reads it"),
        (["-w", "@pipe", URL], "the --write-out format pipe is no regular file, so curl alone reads it"),
        (["-w", "@pipe", "-w", "x", URL], None),
        (["-K", "pipe", URL], "curl's --config pipe is no regular file, so curl alone reads it"),
        (["-K", "/dev/null", URL], None),
        (["-K", "-", URL], "curl's --config comes from standard input"),
        (["-K", "settings", URL], "settings sets retry"),
        (["-K", "other", URL], None),
        (["-K", "missing", URL], None),
    ],
)
def test_why_timings_can_not_be_had(words, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "settings").write_text("silent\n--retry 3\n")
    (tmp_path / "other").write_text("silent\nuser-agent = w\n")
    assert curl_arguments.untimed(read(*words), CURL) == reason


def test_a_curl_that_reports_into_a_file_has_timings_beside_its_errors_in_another():
    assert curl_arguments.untimed(read("--stderr", "f", URL), CURL, direct=True) is None


@pytest.mark.parametrize(("version", "expected"), [((7, 88), False), ((8, 2), False), ((8, 3), True), ((9, 0), True)])
def test_curl_reports_into_files_from_8_3_on(version, expected):
    assert curl_arguments.describe(USAGE, version).writes_reports_to_files == expected


def test_headers_that_are_not_added_are_the_users_own():
    curl_arguments.check(read("-H", "baggage: a=1", "-H", "tracestate: v=1", URL), {"traceparent"})


def test_an_old_curl_has_no_timings():
    old = curl_arguments.describe(USAGE, (7, 69))
    assert curl_arguments.untimed(read(URL), old) == "this curl is older than 7.70"


def test_curlrc_counts_unless_it_is_disabled(tmp_path):
    (tmp_path / ".curlrc").write_text("-w = x\n")
    assert curl_arguments.untimed(read(URL), CURL) == f"{tmp_path}/.curlrc sets w"
    assert curl_arguments.untimed(read("-q", URL), CURL) is None
