"""Who may do what: by rules, over the socket, a ring and shared memory; and what a user may have."""

import grp
import json
import os
import re
import subprocess
import time

import pytest

from daemon_process import binary
from models import KEY, MODELS, atomic, define_all, field, save_ada
from ring_client import RingClient
from rpc_client import Client, Closed, RpcError, wait_until
from segment_reader import Segment

NOTE = atomic("Note", field("text", "str"), field("about", "ref<User>", default="User:ada"))
ME = os.geteuid()
CTL = os.path.join(os.path.dirname(os.path.dirname(binary())), "client", "rapyerctl")


class Ruled:
    """A daemon with rules for the user of the tests, that can be changed."""

    def __init__(self, redis_server, new_daemon, workdir):
        self.path = os.path.join(workdir, "rights.conf")
        self.write("* read,write,lock,break,define,admin *")
        self.daemon = new_daemon(redis_server.address, {"rights.file": self.path})
        with self.connect() as client:
            save_ada(client)
            client.call("define", NOTE)
            client.call("doc.save", "Note:1", {"text": "x"})

    def write(self, *lines):
        with open(self.path, "w", encoding="ascii") as file:
            file.write("\n".join(["# rules", "", *lines]) + "\n")

    def connect(self):
        return self.daemon.connect()

    def set(self, *lines):
        """Has these rules taken over; whoever has others then is disconnected."""
        with self.connect() as canary:
            taken = self.daemon.log().count("configuration taken over")
            self.write(*lines)
            self.daemon.reload()
            wait_until(lambda: self.daemon.log().count("configuration taken over") > taken, what="the rules")
            return canary


@pytest.fixture
def ruled(redis_server, new_daemon, workdir):
    return Ruled(redis_server, new_daemon, workdir)


def forbidden(client, *request):
    with pytest.raises(RpcError, match="^FORBIDDEN: ") as refused:
        client.call(*request)
    return refused.value.text


def test_each_right_is_apart(ruled):
    for who in (f"user:{ME}", f"group:{os.getegid()}", "*"):
        ruled.set(f"{who} read User,Settings , Section")
        with ruled.connect() as client:
            before = client.call("doc.get", KEY)
            assert client.call("doc.load", KEY, "age") == 36 and client.call("doc.keys", "User")["keys"]
            assert client.call("doc.exists", KEY) == 1
            text = forbidden(client, "num.incr", KEY, "age", 1)
            assert "num.incr of User" in text and '"write"' in text
            for request in (("set", KEY, "name", "x"), ("doc.save", KEY, {"name": "x"}), ("doc.delete", KEY),
                            ("doc.ttl", KEY, 100), ("doc.duplicate", KEY, "2"), ("doc.get_or_create", KEY, {"name": "x"}),
                            ("pipeline", [["num.incr", KEY, "age", 1]]), ("lock.acquire", KEY, "edit"),
                            ("lock.break", KEY, "edit"), ("doc.load", "Note:1", "text"), ("doc.get", "Note:none"),
                            ("doc.get_many", [KEY, "Note:1"]), ("doc.keys", "Note"), ("watch", "Note:1"),
                            ("watch", "Note:*"), ("find", "Note"), ("find.count", "Note"), ("ref.get", "Note:1", "about"),
                            ("define", atomic("Other", field("a", "int"))), ("admin.stats",), ("admin.metrics",),
                            ("admin.kill", 1), ("admin.monitor",), ("admin.set", "log.log_level", "info")):
                forbidden(client, *request)
            for model in MODELS:
                client.call("define", model)  # as it is already
            assert client.call("watch", KEY) and client.call("doc.get", KEY) == before
    ruled.set(f"user:{ME} write,lock User", f"user:{ME} stats Note", "* read Note")
    with ruled.connect() as client:
        assert client.call("num.incr", KEY, "age", 1) == 37
        held = client.call("lock.acquire", KEY, "edit", {"document": True})
        assert held["document"]["age"] == 37
        forbidden(client, "lock.release", held["token"], [["set", "Note:1", "text", "y"]])
        client.call("lock.release", held["token"], [["num.incr", KEY, "age", 1]])
        assert client.call("pipeline", [["num.incr", KEY, "age", 1]], {"if_version": {"Note:none": 0}}) == [39]
        forbidden(client, "pipeline", [["num.incr", KEY, "age", 1], ["set", "Note:1", "text", "y"]])
        assert client.call("doc.load", KEY, "age") == 39 and client.call("doc.load", "Note:1", "text") == "x"
        assert client.call("ref.get", "Note:1", "about")["@pk"] == "ada"
        forbidden(client, "lock.break", KEY, "edit")
        assert client.call("admin.stats")["redis"] == "up"
        forbidden(client, "admin.slowlog")
    ruled.set("* lock,break,define User, Other", "* admin Nothing")
    with ruled.connect() as client:
        assert client.call("lock.acquire", KEY, "edit")["token"]
        forbidden(client, "lock.acquire", KEY, "more", {"document": True})
        assert client.call("lock.break", KEY, "edit") == 1
        client.call("define", atomic("Other", field("a", "int")))
        forbidden(client, "define", atomic("Third", field("a", "int")))
        assert client.call("admin.slowlog") == [] and client.call("admin.stats")


def test_all_but_some_models(ruled):
    ruled.set("* write *,!Note")
    with ruled.connect() as client:
        assert client.call("num.incr", KEY, "age", 1) == 37
        forbidden(client, "doc.get", "Note:1")
        for method, *more in (("find", None), ("find.count", None), ("doc.keys",)):
            assert method + " of Note: " in forbidden(client, method, "Note", *more)
    ruled.set("* write *,!Note", "* read Note")
    with ruled.connect() as client:
        assert client.call("doc.load", "Note:1", "text") == "x"
        forbidden(client, "set", "Note:1", "text", "y")


def test_single_methods(ruled):
    ruled.set("* num.incr,doc.load,lock.acquire User", "* doc.* Note")
    with ruled.connect() as client:
        assert client.call("num.incr", KEY, "age", 1) == 37 and client.call("doc.load", KEY, "age") == 37
        assert client.call("pipeline", [["num.incr", KEY, "age", 1], ["doc.load", KEY, "age"]]) == [38, 38]
        for request in (("doc.get", KEY), ("set", KEY, "name", "x"), ("num.mul", KEY, "age", 2), ("find", "User"),
                        ("find.count", "User", None), ("doc.keys", "User"), ("watch", KEY), ("if", KEY, "age", [[">", 1]]),
                        ("segment.open",), ("admin.stats",), ("set", "Note:1", "text", "y")):
            assert request[0] in forbidden(client, *request)
        # One after the other on the same document, each as the method it is.
        for operation in (["set", KEY, "name", "x"], ["doc.get", KEY], ["doc.delete", KEY], ["if", KEY, "age", [[">", 1]]]):
            text = forbidden(client, "pipeline", [["num.incr", KEY, "age", 1], operation])
            assert f"{operation[0]} of User" in text and f'or "{operation[0]}"' in text
        held = client.call("lock.acquire", KEY, "edit", {"document": True})
        assert held["document"]["age"] == 38
        forbidden(client, "lock.release", held["token"], [["num.incr", KEY, "age", 1], ["set", KEY, "name", "x"]])
        assert client.call("lock.release", held["token"], [["num.incr", KEY, "age", 1]]) == [39]
        assert client.call("doc.get", "Note:1")["text"] == "x"
        assert client.call("doc.save", "Note:2", {"text": "z"}) and client.call("doc.delete", "Note:2") == 1
        assert client.call("doc.ttl", "Note:1", 1000) == 1000
        forbidden(client, "doc.get", "Note:1", {"resolve": ["about"]})  # it would show a User


def test_a_right_without_single_methods(ruled):
    ruled.set("* write,lock,!doc.delete,!find.update,!list.* User", "* read Note")
    with ruled.connect() as client:
        assert client.call("num.incr", KEY, "age", 1) == 37 and client.call("doc.get", KEY)["age"] == 37
        text = forbidden(client, "doc.delete", KEY)
        assert 'give this user "write" with "doc.delete"' in text
        held = client.call("lock.acquire", KEY, "edit")
        for request in (("list.append", KEY, "tags", "x"), ("pipeline", [["num.incr", KEY, "age", 1], ["doc.delete", KEY]]),
                        ("lock.release", held["token"], [["list.clear", KEY, "tags"]]),
                        ("find.update", "User", None, [["num.incr", "age", 1]]), ("doc.delete", "Note:1")):
            forbidden(client, *request)
        for expression in (None, ["=", "age", 37]):  # what it does to a document counts as well
            assert "doc.delete of User" in forbidden(client, "find.delete", "User", expression, {"scan": True})
        assert client.call("find.count", "User", ["=", "age", 37], {"scan": True}) == 1
    ruled.set("* find.update,find.count,num.incr User")
    with ruled.connect() as client:
        assert client.call("find.count", "User", ["=", "age", 37], {"scan": True}) == 1
        forbidden(client, "find", "User", ["=", "age", 37], {"scan": True})
        where = ["=", "age", 37], [["num.incr", "age", 1], ["set", "name", "x"]], {"scan": True}
        assert "set of User" in forbidden(client, "find.update", "User", *where)
        assert client.call("find.update", "User", where[0], where[1][:1], where[2])["updated"] == 1


def test_single_methods_of_admin(ruled):
    ruled.set("* stats,admin.slowlog *", "* admin,!admin.kill,!admin.set Note", f"user:{ME + 1} admin *")
    with ruled.connect() as client:
        assert client.call("admin.stats") and client.call("admin.slowlog") == []
        assert client.call("admin.monitor") is not None
        assert '"admin" with "admin.kill"' in forbidden(client, "admin.kill", 1)
        forbidden(client, "admin.set", "log.log_level", "info")
        ruled.set("* stats,admin.slowlog *", "* admin,!admin.kill Note")  # and admin.set: it may something else
        with pytest.raises((Closed, BrokenPipeError, ConnectionResetError)):
            client.expect_closed()
            raise Closed


def await_shown(client, segment):
    wait_until(lambda: client.call("doc.get", KEY) and segment.read(KEY), what="the document in memory")


def test_shared_memory_is_for_who_may_read_in_any_way(ruled):
    ruled.set("* read,write *")
    with Segment(ruled.daemon.socket) as segment, ruled.connect() as client:
        await_shown(client, segment)
        ruled.set("* read,write,!doc.get *")
        assert segment.gone or segment.read(KEY) is None, "it is given up"
    with ruled.connect() as client:
        assert "without exception" in forbidden(client, "segment.open")
        forbidden(client, "doc.get", KEY)
        forbidden(client, "doc.get", "Note:none")
        assert client.call("doc.load", KEY, "age") == 36
    with RingClient(ruled.daemon.socket) as client:
        forbidden(client, "doc.get", KEY)
        forbidden(client, "pipeline", [["num.incr", KEY, "age", 1], ["doc.get", KEY]])
    ruled.set("* read *", "* write,!doc.delete *")  # two lines
    with Segment(ruled.daemon.socket) as segment, ruled.connect() as client:
        forbidden(client, "doc.delete", KEY)


def test_what_one_may_can_be_seen(ruled):
    def ask(*args):
        return subprocess.run([CTL, "-s", ruled.daemon.socket, "rights", *args], capture_output=True, text=True, check=False)
    ruled.set("* write,!doc.delete User , Note", f"user:{ME} lock,num.* *,!Note", f"user:{ME + 1} admin *")
    may = [["read,write,!doc.delete", "User,Note"], ["lock,num.*", "*,!Note"]]
    with ruled.connect() as client:
        said = client.call("rights")
        assert said["rules"] == may and said["uid"] == ME and said["pid"] == os.getpid()
        assert '"stats"' in forbidden(client, "rights", said["number"])
        assert "rights" in client.call("hello")["features"]
    assert json.loads(ask().stdout)["rules"] == may
    ruled.set("* stats *")
    with ruled.connect() as client:
        number = client.call("rights")["number"]
        assert client.call("rights", number)["rules"] == [["stats", "*"]]
        assert json.loads(ask(str(number)).stdout)["pid"] == os.getpid()
    gone = ask("999999")
    assert gone.returncode == 4 and "NOT_FOUND" in gone.stderr
    ruled.set(f"user:{ME + 1} admin *")
    assert json.loads(ask().stdout)["rules"] == []


def test_without_rules_one_may_everything(daemon):
    with daemon.connect() as client:
        assert client.call("rights")["rules"] is None


def test_namespaces(ruled):
    for model in ("shop.Item", "shop.Secret", "Shop"):
        with ruled.connect() as client:
            client.call("define", atomic(model, field("n", "int", default=0)))
            client.call("doc.save", f"{model}:1", {})
    ruled.set("* read shop.*, !shop.Secret")
    with ruled.connect() as client:
        assert client.call("doc.load", "shop.Item:1", "n") == 0
        for key in ("shop.Secret:1", "Shop:1", KEY):
            forbidden(client, "doc.get", key)
        forbidden(client, "segment.open")


def test_of_whom_no_line_speaks_may_nothing(ruled):
    ruled.set(f"user:{ME + 1} write,admin *", f"group:{max(g.gr_gid for g in grp.getgrall()) + 1000} write *")
    with ruled.connect() as client:
        assert client.call("hello")["server"]
        for request in (("doc.get", KEY), ("admin.stats",), ("doc.keys", "User")):
            forbidden(client, *request)
    done = subprocess.run([CTL, "-s", ruled.daemon.socket, "get", KEY], capture_output=True, text=True, check=False)
    assert done.returncode == 7 and "FORBIDDEN" in done.stderr


def test_a_ring_is_no_way_around(ruled):
    ruled.set("* read User")
    with RingClient(ruled.daemon.socket) as client:
        assert client.call("doc.load", KEY, "age") == 36
        forbidden(client, "num.incr", KEY, "age", 1)
        forbidden(client, "doc.get", "Note:1")


def test_shared_memory_is_for_who_may_read_all(ruled):
    ruled.set("* read,write *")
    with Segment(ruled.daemon.socket) as segment, ruled.connect() as client:
        await_shown(client, segment)
        ruled.set("* read *,!Note")
        assert segment.gone or segment.read(KEY) is None, "it is given up"
    for rule in ("* read *,!Note", "* read User", "* write *,!Note\n* read Note", "* lock *"):
        ruled.set(rule)
        with ruled.connect() as client:
            forbidden(client, "segment.open")


def test_who_may_something_else_is_disconnected(ruled):
    with ruled.connect() as client:
        client.call("watch", "Note:1")
        ruled.set("* read,write,lock,break,define,admin *", f"user:{ME + 1} read Note")
        assert client.call("hello"), "nothing has changed for it"
        ruled.set("* read User")
        with pytest.raises((Closed, BrokenPipeError, ConnectionResetError)):
            client.expect_closed()
            raise Closed
    assert "what it may do has changed" in ruled.daemon.log()
    ruled.write("* read,admin *")
    ruled.daemon.reload()

    def admin():
        with ruled.connect() as client:
            try:
                return client.call("admin.stats")
            except (RpcError, Closed, OSError):  # it may be one that is being disconnected
                return None
    wait_until(admin, what="the rules")
    ruled.write("nobody read *")
    with ruled.connect() as client:
        with pytest.raises(RpcError, match="rights.conf:3: "):
            client.call("admin.reload")
        assert client.call("admin.stats"), "what is wrong changes nothing"


def test_refusals_are_counted_and_logged_but_not_for_ever(ruled):
    ruled.set("* stats,read Note")
    with ruled.connect() as client:
        for _ in range(50):
            forbidden(client, "doc.get", KEY)
        assert 'rapyerd_faults_total{code="FORBIDDEN"} 50\n' in client.call("admin.metrics")
        number = client.call("admin.clients")[0]["number"]
    lines = [line for line in ruled.daemon.log().splitlines() if "refused: doc.get of User" in line]
    assert len(lines) == 20
    assert re.search(rf"client {number} \(\S+, pid {os.getpid()}, uid {ME}\), request \d+: refused", lines[0])
    ruled.daemon.stop()
    assert '30 more lines in 10 s as "refused: doc.get of User' in ruled.daemon.log()


@pytest.mark.parametrize("line, word", [
    ("user:nobody-of-that-name read *", "no user"), ("* fly *", "fly"), ("* read", "MODELS"), ("somebody read *", "somebody"),
    ("group:no-such-group read *", "no group"), ("* doc.fly *", "doc.fly"), ("* read,pipeline *", "pipeline"),
    ("* * User", '"*"'), ("* !doc.delete *", "gives nothing"), ("* write,!read *", "!read")])
def test_rules_that_are_wrong_are_refused(redis_server, new_daemon, workdir, line, word):
    path = os.path.join(workdir, "rights.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write(f"# first\n{line}\n")
    daemon = new_daemon(redis_server.address, {"rights.file": path}, wait=False)
    assert daemon.process.wait(20) == 2
    daemon.killed = True
    assert f"{path}:2: " in daemon.log() and word in daemon.log()


def test_rules_that_everybody_can_write_are_refused(redis_server, new_daemon, workdir):
    path = os.path.join(workdir, "rights.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write("* read *\n")
    os.chmod(path, 0o666)
    daemon = new_daemon(redis_server.address, {"rights.file": path}, wait=False)
    assert daemon.process.wait(20) == 2
    daemon.killed = True
    assert "chmod" in daemon.log()


# --- what one user may have ---------------------------------------------------------------------


def test_connections_of_a_user(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"rights.user_clients": 3})
    clients = [daemon.connect() for _ in range(3)]
    for client in clients:
        client.call("hello")
    with daemon.connect() as fourth:
        said = fourth.expect_closed()
        assert said[0][2].startswith("BUSY: ") and "rights.user_clients" in said[0][2]
    clients.pop().close()

    def again():
        try:
            with daemon.connect() as client:
                return client.call("hello")
        except (Closed, OSError, RpcError):
            return None
    wait_until(again, what="room for another one")
    for client in clients:
        client.close()


def test_requests_of_a_user_that_wait(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"rights.user_requests": 5})
    with daemon.connect() as one, daemon.connect() as two:
        save_ada(one)
        redis_server.pause()
        waiting = [one.send("num.incr", KEY, "age", 1) for _ in range(5)]
        wait_until(lambda: daemon_waiting(daemon) == 5, what="five of them")
        with pytest.raises(RpcError, match="^BUSY: .*rights.user_requests"):
            two.call("num.incr", KEY, "age", 1)
        redis_server.resume()
        assert [one.wait(request) for request in waiting] == list(range(37, 42))
        assert two.call("num.incr", KEY, "age", 1) == 42


def daemon_waiting(daemon):
    with daemon.connect() as client:
        try:
            return client.call("admin.stats")["waiting"]
        except RpcError as busy:
            assert busy.code == "BUSY"
            return 5


def test_requests_and_bytes_in_a_second(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address)
    with daemon.connect() as client:
        save_ada(client)
        client.call("admin.set", "rights.user_rate", "50")
        time.sleep(1.1)
        good = bad = 0
        begun = time.monotonic()
        for _ in range(400):
            try:
                client.call("doc.load", KEY, "age")
                good += 1
            except RpcError as busy:
                assert busy.code == "BUSY" and "user_rate" in busy.text
                bad += 1
        took = time.monotonic() - begun
        assert 40 <= good <= 50 + 50 * took + 2 and (bad > 0 or took > 6)
        time.sleep(0.2)
        client.call("admin.set", "rights.user_rate", "0")
        client.call("admin.set", "rights.user_bytes", "100K")
        time.sleep(1.1)
        client.call("set", KEY, "bio", "x" * 150000)
        with pytest.raises(RpcError, match="^BUSY: .*rights.user_bytes"):
            client.call("set", KEY, "bio", "y")
        wait_until(lambda: _tries(client, "set", KEY, "bio", "y"), what="its turn")


def test_who_comes_again_for_each_request_is_no_newcomer(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"rights.user_rate": 20})

    def asks():
        with daemon.connect() as client:
            return client.call("rights")["uid"]
    said = []
    for _ in range(2000):
        try:
            said.append(asks())
        except RpcError as busy:
            assert busy.code == "BUSY" and "user_rate" in busy.text
            break
    else:
        raise AssertionError("it may ask as often as it likes")
    wait_until(lambda: _answers(asks), what="its turn")


def _answers(ask):
    try:
        return ask() == ME
    except RpcError as busy:
        assert busy.code == "BUSY"
        return False


def _tries(client, *request):
    try:
        client.call(*request)
        return True
    except RpcError as busy:
        assert busy.code == "BUSY"
        return False


def test_memory_of_a_user(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"rights.user_memory": "3M", "limits.client_output": "64M"})
    with daemon.connect() as client:
        define_all(client)
        client.call("doc.save", "User:big", {"name": "x", "bio": "y" * 400000})
    greedy = [daemon.connect() for _ in range(8)]
    for one in greedy:
        for _ in range(3):
            one.send("doc.load", "User:big", "bio")
    wait_until(lambda: "rights.user_memory" in daemon.log(), what="one that is disconnected")
    with daemon.connect() as client:
        assert client.call("hello"), "who wants little is served"
    for one in greedy:
        one.close()
    tight = new_daemon(redis_server.address, {"rights.user_memory": "200K"})
    with RingClient(tight.socket) as first, Client(tight.socket) as second:
        first.call("hello")
        with pytest.raises(RpcError, match="^BUSY: .*rights.user_memory"):
            second.call("ring.open")
        assert second.call("hello")
