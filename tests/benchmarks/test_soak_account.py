"""The soak run's account: what it calls lost, repeated and wrong (benchmarks/soak/account.py)."""

from collections import Counter

from benchmarks.soak.account import reconcile

CLASSES = {"cat": 285}


def sent(offset, *, poison=False):
    return {"picture": "cat", "poison": poison, "outcome": "delivered", "place": [0, offset]}


def told(offset, outcome="answered", attempt=1, found=285, refused=None):
    answer = {"predictions": [{"class": found}]} if outcome == "answered" else None
    line = {"partition": 0, "offset": offset, "outcome": outcome, "attempt": attempt}
    return {**line, "answer": answer, "refused": refused}


def topic(count):
    return {(0, offset): f"trace {offset}" for offset in range(count)}


def account(senders, bridges, records, parked=(), http=()):
    return reconcile({"HTTP": list(http), "Kafka": senders}, bridges, records, parked, CLASSES)


def test_every_record_is_answered_or_parked():
    found = account([sent(0), sent(1, poison=True)], [told(0), told(1, "dead-lettered")], topic(2), [(0, 1)])
    assert found.records == Counter({"answered": 1, "dead-lettered": 1})
    assert found.good


def test_a_record_that_nobody_told_of_is_lost():
    found = account([sent(0), sent(1)], [told(0)], topic(2))
    assert found.records == Counter({"answered": 1, "lost": 1})
    assert found.lost == [(0, 1)]
    assert not found.good


def test_a_record_in_the_dead_letter_topic_is_not_lost_though_its_bridge_died_before_it_told():
    found = account([sent(0)], [], topic(1), [(0, 0)])
    assert found.records == Counter({"dead-lettered": 1})
    assert found.good


def test_a_record_that_a_sender_was_told_is_delivered_and_that_is_not_in_the_topic_is_lost():
    assert account([sent(7)], [], {}).lost == [(0, 7)]


def test_a_record_whose_sender_was_told_of_a_failure_counts_when_it_is_in_the_topic_all_the_same():
    failed = {"picture": "cat", "poison": False, "outcome": "failed", "error": "not delivered within 60 s"}
    found = account([failed], [], topic(1))
    assert (found.unknown, found.lost) == (1, [(0, 0)])
    assert found.errors == Counter({"not delivered within N s": 1})


def test_repeats_are_told_apart_by_whether_they_are_marked():
    bridges = [told(0), told(0, attempt=2), told(1), told(1), told(2, attempt=2)]
    found = account([sent(0), sent(1), sent(2)], bridges, topic(3))
    assert (found.told_twice, found.unmarked, found.marked) == (2, [(0, 1)], 2)
    assert not found.good


def test_an_image_that_lies_in_the_topic_twice_is_counted():
    found = account([sent(0)], [told(0), told(1)], {(0, 0): "trace 0", (0, 1): "trace 0"})
    assert found.written_twice == 1
    assert not found.good


def test_answers_of_another_picture_and_of_poison_are_wrong():
    bridges = [told(0, found=504), told(1), told(2, "dead-lettered", refused="the picture is a broken JPG image")]
    http = [{"picture": "cat", "poison": False, "outcome": "answered", "class": 1}]
    found = account([sent(0), sent(1, poison=True), sent(2)], bridges, topic(3), [(0, 2)], http)
    assert sorted(found.wrong) == [
        "(0, 0): cat was answered with class 504",
        "(0, 1): half a picture was answered",
        "(0, 2): a whole picture was refused: the picture is a broken JPG image",
        f"over HTTP: {http[0]}",
    ]
