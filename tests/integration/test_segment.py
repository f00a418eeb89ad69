"""Documents read in shared memory, without asking: the same as rapyerd would answer, nothing older
than what anybody was told before, and nothing at all that rapyerd could not answer for."""

import json
import mmap
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from daemon_process import built
from models import ADA, KEY, MODELS, ROOT, atomic, define_all, field, save_ada
from rpc_client import Closed, RpcError, wait_until
from segment_reader import OWNER_DIED, Segment
from test_bad_input import refused

PATHS = ["name", "age", "score", "active", "bio", "blob", "born", "extra", "nick", "address", "settings",
         "tags", "numbers", "counts", "addresses", "rows", "sections", "teams", "settings.theme",
         "settings.notifications", "settings.notifications[\"mail\"]", "settings.panels", "tags[0]", "tags[-1]",
         "tags[3]", "tags[-4]", "counts[\"x\"]", "counts[\"z\"]", "sections[0]", "sections[0].name",
         "sections[\"s1\"].tasks", "sections[\"s1\"].tasks[\"t2\"].title", "sections[-1].tasks[0]",
         "sections[0].tasks[1].metadata[\"due\"]", "teams[\"core\"]", "teams[\"core\"].name",
         "teams[\"no\"]", "address.city", "extra.k", "extra[\"k\"]", "rows[1]", "rows[1][0]", "counts.x",
         "settings[\"theme\"]", "nothing", "settings.nothing", "", "tags[", "tags.0", "@pk", "@v"]


@pytest.fixture
def settings(request):
    return getattr(request, "param", {})


def with_settings(**more):
    return pytest.mark.parametrize("settings", [{f"cache.{name}": value for name, value in more.items()}],
                                   indirect=True, ids=[""])


@pytest.fixture
def daemon(redis_server, new_daemon, settings):
    return new_daemon(redis_server.address, settings)


@pytest.fixture
def segment(daemon, ada):
    with Segment(daemon.socket) as segment:
        yield segment


def shown(segment, client, key=KEY):
    """The document, once it is there."""
    def look():
        value = segment.read(key)
        if value is None:
            client.call("doc.get", key)
        return value
    return wait_until(look, what=f"{key} in shared memory")


class Caller:
    """A process with one connection of librapyer (segment_caller.c)."""

    def __init__(self, daemon, after=1):
        env = dict(os.environ, RAPYER_SOCKET=daemon.socket, RAPYER_SHARED=str(after),
                   ASAN_OPTIONS="detect_leaks=1")
        self.process = subprocess.Popen([built("tests/segment_caller")], env=env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, *words):
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def ask(self, *words):
        """Who has answered, and what: JSON, or the text of an error."""
        self.tell(*words)
        who, _, text = self.process.stdout.readline().rstrip("\n").partition("\t")
        try:
            return who, json.loads(text)
        except ValueError:
            return who, text

    def waits_for_the_daemon(self):
        """In poll, that is, and not for our next line."""
        with open(f"/proc/{self.process.pid}/wchan", encoding="ascii") as wchan:
            return "poll" in wchan.read()

    def until_shared(self, *words):
        return wait_until(lambda: (answer := self.ask(*words))[0] == "shared" and answer,
                          what=f"{words} in shared memory")[1]

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0


@pytest.fixture
def new_caller():
    callers = []

    def new(*args, **options):
        callers.append(Caller(*args, **options))
        return callers[-1]

    yield new
    for caller in callers:
        caller.close()


# --- the memory ---------------------------------------------------------------------------------


def test_it_can_neither_be_written_nor_cut(segment):
    with pytest.raises(PermissionError):
        mmap.mmap(segment.fd, segment.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    for harm in (lambda: os.ftruncate(segment.fd, 4096), lambda: os.pwrite(segment.fd, b"x", 0),
                 lambda: os.ftruncate(segment.fd, segment.size * 2)):
        with pytest.raises(PermissionError):
            harm()


def test_all_get_the_same_memory(daemon, segment):
    with Segment(daemon.socket) as other:
        assert (other.boot, other.size) == (segment.boot, segment.size)


def test_a_ring_carries_no_descriptors(daemon, ada):
    from ring_client import RingClient
    with RingClient(daemon.socket) as ring:
        refused(ring, "BAD_REQUEST", "segment.open")
        assert ring.call("doc.get", KEY)["name"] == "Ada"


def test_it_takes_no_parameters(client):
    refused(client, "BAD_REQUEST", "segment.open", 1)


@with_settings(shared_memory="0")
def test_it_can_be_switched_off(daemon, ada, new_caller):
    refused(ada, "UNAVAILABLE", "segment.open")
    caller = new_caller(daemon)
    for _ in range(5):
        assert caller.ask("fetch", KEY)[0] == "asked"


@with_settings(cache_memory="8M")
def test_it_is_a_part_of_the_cache(daemon, ada, client):
    before = client.call("admin.cache")
    assert before["shared_memory"] == 0
    with Segment(daemon.socket) as segment:
        after = client.call("admin.cache")
        assert after["shared_memory"] == segment.size == 4 << 20
        assert after["limit"] == before["limit"] - segment.size


@with_settings(shared_except="Task, User")
def test_models_can_be_left_out(segment, ada):
    ada.call("define", atomic("Userx", field("name", "str")))
    ada.call("doc.save", "Userx:1", {"name": "x"})
    shown(segment, ada, "Userx:1")
    for _ in range(10):
        ada.call("doc.get", KEY)
    assert segment.read(KEY) is None
    assert b"12 St James" not in segment.memory[:]


def test_settings_can_be_changed_while_it_runs(daemon, segment, ada):
    shown(segment, ada)
    daemon.settings["cache.shared_memory"] = "2M"
    daemon.write_config()
    daemon.reload()
    wait_until(lambda: segment.gone, what="the end of the old memory")
    with Segment(daemon.socket) as new:
        assert new.size == 2 << 20 and new.boot != segment.boot
        assert shown(new, ada) == ada.call("doc.get", KEY, {"version": True})
    daemon.settings["cache.shared_except"] = "User"
    daemon.write_config()
    daemon.reload()

    def is_gone():
        with Segment(daemon.socket) as newest:
            return newest.boot != new.boot
    wait_until(is_gone, what="another memory")


# --- what is in it ------------------------------------------------------------------------------


def test_a_stranger_reads_what_rapyerd_answers(segment, ada):
    assert shown(segment, ada) == ada.call("doc.get", KEY, {"version": True})
    assert segment.field(KEY, "name") == "Ada"
    assert segment.field(KEY, "teams") == ADA["teams"]
    assert segment.field(KEY, "nothing") is None
    assert segment.read("User:nobody") is None


def test_only_what_is_read_again_is_put_there(segment, ada):
    ada.call("doc.get", KEY)
    assert segment.read(KEY) is None
    ada.call("doc.get", KEY)
    assert segment.read(KEY) is not None


def test_loading_places_is_reading_too(segment, ada):
    for _ in range(2):
        ada.call("doc.load", KEY, "name")
    assert segment.read(KEY) is not None


def test_a_change_is_seen_by_all_who_read_after_its_answer(segment, ada):
    for n in range(300):
        shown(segment, ada)
        ada.call("num.incr", KEY, "age", 1)
        seen = segment.read(KEY)
        assert seen is None or seen["age"] == ADA["age"] + n + 1


def test_each_way_to_change_a_document_is_a_change(segment, ada):
    changes = [("set", KEY, "bio", "new"), ("list.append", KEY, "tags", "x"), ("dict.set", KEY, "counts", "q", 1),
               ("set", KEY, "sections[0].tasks[0].title", "deep"), ("doc.ttl", KEY, 100), ("doc.ttl", KEY, 0),
               ("pipeline", [["num.incr", KEY, "age", 1], ["list.pop", KEY, "tags", 0]]),
               ("doc.save", KEY, {**ADA, "name": "Bea"}), ("doc.delete", KEY), ("doc.save", KEY, ADA)]
    for change in changes:
        if change[0] != "doc.save" or change[2] is not ADA:
            shown(segment, ada)
        ada.call(*change)
        seen = segment.read(KEY)
        assert seen is None or seen == ada.call("doc.get", KEY, {"version": True}), change
    assert shown(segment, ada) == ada.call("doc.get", KEY, {"version": True})


def test_what_is_read_between_changes_is_shown_with_them(segment, ada):
    """From some changes on it is there at once: nobody has to ask."""
    there = 0
    for _ in range(200):
        ada.call("num.incr", KEY, "age", 1)
        there += segment.read(KEY) is not None
        shown(segment, ada)
    assert there > 150


def test_what_nobody_reads_is_not_shown_anew_for_long(daemon, segment, ada):
    shown(segment, ada)
    for _ in range(100):
        ada.call("num.incr", KEY, "age", 1)
    assert ada.call("admin.cache")["shared_puts"] < 10
    assert segment.read(KEY) is None


def test_a_document_is_gone_at_its_deadline(segment, ada):
    """By the reader's own clock: rapyerd is not asked, nor does it do anything then."""
    ada.call("doc.ttl", KEY, 2)
    began = time.time()
    # What was just written is read again half a bound later, and only then shown for longer.
    wait_until(lambda: ada.call("doc.get", KEY) and time.time() > began + 0.6, what="the last reading")
    shown(segment, ada)
    wait_until(lambda: segment.read(KEY) is None, what="the deadline")
    assert time.time() - began > 1.9
    refused(ada, "NOT_FOUND", "doc.get", KEY)
    assert segment.read(KEY) is None


def test_documents_look_as_the_models_say_now(segment, client):
    client.call("define", atomic("Page", field("title", "str")))
    client.call("doc.save", "Page:1", {"title": "a"})
    assert "visits" not in shown(segment, client, "Page:1")
    client.call("define", atomic("Page", field("title", "str"), field("visits", "int", default=7)))
    assert segment.read("Page:1") is None
    assert shown(segment, client, "Page:1")["visits"] == 7


def test_lazy_fields_are_not_in_it(segment, client, daemon, new_caller):
    client.call("define", atomic("Page", field("title", "str"), field("body", "str", lazy=True)))
    client.call("doc.save", "Page:1", {"title": "a", "body": "long"})
    assert shown(segment, client, "Page:1") == client.call("doc.get", "Page:1", {"version": True})
    caller = new_caller(daemon)
    caller.until_shared("fetch", "Page:1")
    assert caller.ask("load", "Page:1", "body") == ("asked", "long")
    assert caller.ask("load", "Page:1", "") == ("asked", {"@pk": "1", "title": "a", "body": "long"})


@with_settings(cache_memory="4M", shared_memory="1M")
def test_what_there_is_no_room_for_makes_others_go(segment, client):
    text = "x" * 20000
    client.call("define", atomic("Page", field("text", "str")))
    for i in range(200):
        client.call("doc.save", f"Page:{i}", {"text": f"{i} {text}"})
        for _ in range(2):
            client.call("doc.get", f"Page:{i}")
    there = [i for i in range(200) if segment.read(f"Page:{i}")]
    assert 199 in there and 10 < len(there) < 60
    for i in there:
        assert segment.read(f"Page:{i}")["text"] == f"{i} {text}"


def test_what_is_too_long_for_it_is_read_as_ever(segment, client):
    client.call("define", atomic("Page", field("text", "bytes")))
    client.call("doc.save", "Page:1", {"text": bytes(1 << 20)})
    for _ in range(5):
        assert len(client.call("doc.get", "Page:1")["text"]) == 1 << 20
    assert segment.read("Page:1") is None


def test_evicted_documents_are_gone(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"cache.cache_memory": "2M", "cache.shared_memory": "1M"})
    with daemon.connect() as client, Segment(daemon.socket) as segment:
        client.call("define", atomic("Page", field("text", "str")))
        client.call("doc.save", "Page:0", {"text": "old"})
        shown(segment, client, "Page:0")
        for i in range(1, 400):
            client.call("doc.save", f"Page:{i}", {"text": "x" * 8000})
            client.call("doc.get", f"Page:{i}")  # else they would only push out each other
        assert segment.read("Page:0") is None
        client.call("set", "Page:0", "text", "new")
        assert shown(segment, client, "Page:0")["text"] == "new"


# --- when nothing may be read -------------------------------------------------------------------


def test_nothing_is_readable_once_the_daemon_was_killed(daemon, segment, ada):
    """The kernel says so, before the socket closes: no new rapyerd can have answered a write."""
    shown(segment, ada)
    assert not segment.gone
    daemon.process.send_signal(signal.SIGKILL)
    with pytest.raises((Closed, OSError)):
        while True:
            ada.call("hello", {})
    assert segment.owner & OWNER_DIED
    assert segment.read(KEY) is None
    daemon.kill()


def test_nothing_is_readable_after_an_orderly_end(daemon, segment, ada):
    shown(segment, ada)
    daemon.stop()
    assert segment.gone and segment.read(KEY) is None


def test_a_daemon_that_stands_still_is_not_trusted_for_long(daemon, segment, ada):
    shown(segment, ada)
    daemon.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: segment.read(KEY) is None, timeout=2, what="the end of its term")
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: segment.read(KEY), what="the daemon's return")


def test_nothing_is_readable_while_the_link_is_down(new_redis, new_daemon):
    redis = new_redis(aof=True)
    daemon = new_daemon(redis.address, {"commit.queue_time": "200ms"})
    with daemon.connect() as client, Segment(daemon.socket) as segment:
        save_ada(client)
        shown(segment, client)
        redis.kill()
        wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="the loss of the link")
        assert segment.read(KEY) is None
        redis.start()
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        assert segment.read(KEY) is None  # not before it was checked
        assert shown(segment, client)["name"] == "Ada"


def test_what_another_daemon_has_written_is_seen_under_a_lock(redis_server, new_daemon, new_caller):
    ours, theirs = new_daemon(redis_server.address), new_daemon(redis_server.address)
    with ours.connect() as here, theirs.connect() as there:
        save_ada(here)
        define_all(there)
        caller = new_caller(ours)
        for n in range(10):
            caller.until_shared("fetch", KEY)
            token = there.call("lock.acquire", KEY, "edit", {"ttl": 10})["token"]
            there.call("pipeline", [["set", KEY, "bio", f"theirs {n}"]], {"lock": token})
            there.call("lock.release", token)
            caller.ask("lock", KEY)
            assert caller.ask("locked")[1]["bio"] == f"theirs {n}"
            caller.ask("unlock")


# --- librapyer ----------------------------------------------------------------------------------


def test_librapyer_reads_there_by_itself(daemon, ada, new_caller):
    caller = new_caller(daemon)
    whole = caller.until_shared("fetch", KEY)
    asked = new_caller(daemon, after=0)
    assert asked.ask("fetch", KEY) == ("asked", whole)
    assert caller.ask("version", KEY) == ("shared", asked.ask("version", KEY)[1])
    assert caller.ask("fetch", "User:nobody")[0] == "asked"


def test_librapyer_finds_each_place_where_rapyerd_finds_it(daemon, ada, new_caller):
    for models in ((), MODELS):
        caller, asked = new_caller(daemon), new_caller(daemon, after=0)
        caller.until_shared("fetch", KEY)
        there = {path: caller.ask("load", KEY, path) for path in PATHS}
        for path, (who, value) in there.items():
            assert asked.ask("load", KEY, path)[1] == value, path
        assert sum(who == "shared" for who, _ in there.values()) >= 18


def test_librapyer_reads_many_at_once(daemon, ada, new_caller):
    for i in range(100):
        ada.call("doc.save", f"User:{i}", {"name": f"user {i}", "settings": {}})
    keys = [f"User:{i}" for i in range(100)]
    caller = new_caller(daemon)
    many = caller.until_shared("many", *keys)
    assert many == new_caller(daemon, after=0).ask("many", *keys)[1]
    assert [one["name"] for one in many] == [f"user {i}" for i in range(100)]
    assert caller.ask("many", *keys, "User:nobody") == ("asked", many + [None])


def test_many_are_as_they_were_at_one_moment(daemon, ada, new_caller):
    """Money goes to and fro between two documents: the sum is always the same."""
    for i in (1, 2):
        ada.call("doc.save", f"User:{i}", {"name": "x", "age": 1000, "settings": {}})
    over = threading.Event()

    def transfer():
        with daemon.connect() as client:
            rng = random.Random(1)
            while not over.is_set():
                n = rng.randrange(-9, 10)
                client.call("pipeline", [["num.incr", "User:1", "age", n], ["num.incr", "User:2", "age", -n]])
    writer = threading.Thread(target=transfer)
    writer.start()
    caller, shared = new_caller(daemon), 0
    try:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            who, (one, two) = caller.ask("many", "User:1", "User:2")
            assert one["age"] + two["age"] == 2000
            shared += who == "shared"
    finally:
        over.set()
        writer.join()
    assert shared > 10


def test_what_was_sent_before_comes_before_a_read(daemon, ada, new_caller):
    caller = new_caller(daemon)
    for n in range(1, 50):
        caller.until_shared("fetch", KEY)
        caller.ask("send", KEY, "age", 1)
        assert caller.ask("fetch", KEY)[1]["age"] == ADA["age"] + n


def test_a_write_that_was_given_up_comes_before_a_read(daemon, ada, new_caller):
    caller = new_caller(daemon)
    caller.until_shared("fetch", KEY)
    caller.ask("slow", "50")
    daemon.process.send_signal(signal.SIGSTOP)
    assert caller.ask("set", KEY, "bio", "late")[1].startswith("UNKNOWN_OUTCOME")
    daemon.process.send_signal(signal.SIGCONT)
    caller.ask("slow", "20000")
    assert caller.ask("fetch", KEY)[1]["bio"] == "late"


def test_librapyer_goes_on_when_the_daemon_is_killed(daemon, ada, new_caller):
    caller = new_caller(daemon)
    for n in range(3):
        caller.until_shared("fetch", KEY)
        daemon.kill()
        daemon.start()
        with daemon.connect() as client:
            client.call("set", KEY, "bio", f"after {n}")
        assert caller.ask("fetch", KEY)[1]["bio"] == f"after {n}"


def test_librapyer_waits_for_a_daemon_that_stands_still(daemon, ada, new_caller):
    caller = new_caller(daemon)
    with Segment(daemon.socket) as segment:
        caller.until_shared("fetch", KEY)
        daemon.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: segment.generation() == 0, what="the end of its term")
        caller.tell("fetch", KEY)
        wait_until(caller.waits_for_the_daemon, what="the caller to ask")
        daemon.process.send_signal(signal.SIGCONT)
        assert caller.process.stdout.readline().startswith("asked")
        caller.until_shared("fetch", KEY)


def test_a_forked_child_reads_by_itself(daemon, ada, new_caller):
    caller = new_caller(daemon)
    whole = caller.until_shared("fetch", KEY)
    for _ in range(3):
        assert caller.ask("forked", KEY) == ("asked", whole)
        assert caller.ask("fetch", KEY) == ("shared", whole)


def test_threads_and_a_library_that_is_unloaded(daemon, ada):
    """Eight connections of one process read while one writes; then the library goes, three times."""
    done = subprocess.run([built("tests/segment_threads"), built("client/librapyer.so.1"), daemon.socket, KEY,
                           "8", "2000", "3"], capture_output=True, text=True, timeout=120, check=False,
                          env=dict(os.environ, RAPYER_SHARED="1"))
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    assert ada.call("doc.load", KEY, "age") == ADA["age"] + 900


def test_it_keeps_no_descriptor(daemon, ada, new_caller):
    caller = new_caller(daemon)
    caller.ask("version", KEY)
    before = len(os.listdir(f"/proc/{caller.process.pid}/fd"))
    caller.until_shared("fetch", KEY)
    with open(f"/proc/{caller.process.pid}/maps", encoding="utf-8") as maps:
        ours = [line for line in maps if "rapyerd documents" in line]
    assert [line.split()[1] for line in ours] == ["r--s"]
    assert len(os.listdir(f"/proc/{caller.process.pid}/fd")) == before


def test_rapyerd_is_told_of_the_reads(daemon, ada, new_caller):
    caller = new_caller(daemon)
    caller.until_shared("fetch", KEY)
    assert ada.call("admin.cache")["shared_hits"] == 0
    for _ in range(5000):
        caller.ask("fetch", KEY)
    wait_until(lambda: ada.call("admin.cache")["shared_hits"] > 4000, what="news of the reads")


def test_what_is_told_of_reads_harms_nobody(ada):
    for params in ([], [1], [-1, KEY], ["x", KEY], [1, 5], [1 << 63, KEY], [5, "nonsense"], [2, KEY, 3]):
        ada.notify("segment.hits", *params)
    assert ada.call("admin.cache")["shared_hits"] <= 5 + (1 << 32)
