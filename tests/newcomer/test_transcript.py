"""What `make newcomer` compares is a transcript of README's own commands."""

import re

from newcomer import TOP, TRANSCRIPT, commands, masked


def test_the_transcript_has_the_readme_s_commands_in_their_order():
    typed = [line[2:] for line in TRANSCRIPT.read_text().splitlines() if line.startswith("$ ")]
    assert typed == commands((TOP / "README.md").read_text())


def test_the_answer_that_the_readme_quotes_is_the_transcript_s():
    quoted = re.search(r"begins with the answer.*\n\n((?:    .*\n)+)", (TOP / "README.md").read_text())
    assert masked(re.sub(r"^    ", "", quoted[1], flags=re.MULTILINE)) in TRANSCRIPT.read_text()


def test_a_sentence_is_the_same_wherever_it_is_broken():
    assert masked("An image takes 9.9 ms: 95% of the\ntime is `server`\nmore\n\ntime") == (
        "An image takes # ms: #% of the time is `server` more\n\ntime"
    )


def test_what_only_a_busy_machine_names_is_masked():
    assert masked("9% of the time is `server (untraced)`, 8% `client`, 7% `upload`. No") == (
        "#% of the time is `server (untraced)`. No"
    )


def test_figures_dates_and_bars_are_masked_and_words_are_not():
    printed = "p50 95.9 ms, 47% of it\n\ncat  ███▌ 12.3 ±0.4\nin otel-kfs-runs/2026-11-30-023717/traces, n = 20   \n"
    assert masked(printed) == "p50 # ms, #% of it\n\ncat  <bar> #\nin otel-kfs-runs/<time>/traces, n = 20\n"
