"""What goes wrong only when two things meet: a redefinition and a cached document, a container that
is missed twice, a deadline in the middle of a pipeline, an end in the middle of everything."""

import signal
import threading
import time

import pytest

from models import ADA, KEY, MODELS, TASK, USER, atomic, field, save_ada
from rpc_client import Closed, RpcError, wait_until


def with_fields(model, *fields):
    return {**model, "fields": model["fields"] + list(fields)}


MORE = (field("extra1", "list<str>"), field("extra2", "dict<int>"), field("extra3", "str", default="new"))


def test_redefinition_while_a_document_is_read(redis_server, new_daemon):
    first = new_daemon(redis_server.address)
    with first.connect() as client:
        save_ada(client)
    first.stop()
    with new_daemon(redis_server.address).connect() as client:
        define = client.pack([0, 1, "define", [with_fields(USER, *MORE)]])
        get = client.pack([0, 2, "doc.get", [KEY]])
        client.send_raw(define + get)
        assert client.wait(1)["revision"] == 2
        ada = client.wait(2)
        assert ada["tags"] == ADA["tags"] and ada["extra1"] == [] and ada["extra3"] == "new"
        assert client.call("list.append", KEY, "extra1", "x") == 1
        assert client.call("doc.get", KEY)["extra1"] == ["x"]


def test_redefinition_while_elements_are_read(redis_server, new_daemon):
    first = new_daemon(redis_server.address)
    with first.connect() as client:
        save_ada(client)
    first.stop()
    with new_daemon(redis_server.address).connect() as client:
        assert client.call("doc.load", KEY, "name") == "Ada"  # the containers are not read yet
        for i in range(20):  # answers of the two meet in every order
            task = with_fields(TASK, *(field(f"more{j}", "list<str>") for j in range(i + 1)))
            client.send_raw(client.pack([0, 100 + 2 * i, "define", [task]]) +
                            client.pack([0, 101 + 2 * i, "doc.load", [KEY, "sections"]]))
            client.wait(100 + 2 * i)
            tasks = client.wait(101 + 2 * i)[0]["tasks"]
            assert [t["tags"] for t in tasks] == [["red"], []]
            assert [t["metadata"] for t in tasks] == [{"due": "today"}, {}]


def test_redefinition_of_what_lies_deep_in_a_cached_document(client):
    save_ada(client)
    client.call("doc.get", KEY)
    client.call("define", with_fields(TASK, *MORE))
    task = 'sections["s1"].tasks["t1"]'
    assert client.call("list.append", KEY, task + ".extra1", "x") == 1
    client.call("dict.set", KEY, task + ".extra2", "k", 7)
    assert client.call("str.append", KEY, task + ".extra3", "er") == "newer"
    found = client.call("doc.load", KEY, task)
    assert (found["extra1"], found["extra2"], found["extra3"]) == (["x"], {"k": 7}, "newer")


def test_redefinition_while_a_document_is_dirty(client):
    save_ada(client)
    for i in range(20):
        grown = with_fields(USER, *(field(f"more{j}", "list<int>") for j in range(i + 1)))
        ids = [client.send("num.incr", KEY, "age", 1), client.send("define", grown),
               client.send("num.incr", KEY, "age", 1), client.send("list.append", KEY, "tags", "x")]
        results = [client.wait(i) for i in ids]
        assert results[2] == 36 + 2 * (i + 1) and results[3] == 4 + i
        assert client.call("list.append", KEY, f"more{i}", i) == 1


def test_redefinition_and_a_new_document_in_one_pipeline(client):
    save_ada(client)
    assert client.call("doc.exists", "User:eve") == 0
    client.call("define", with_fields(USER, *MORE))
    results = client.call("pipeline", [["doc.save", "User:eve", {**ADA, "extra1": ["x"]}],
                                       ["list.append", "User:eve", "extra1", "y"],
                                       ["doc.get", "User:eve"]])
    assert results[1] == 2 and results[2]["extra1"] == ["x", "y"]


ITEM = atomic("Item", field("values", "list<int>"))
BOX = atomic("Box", field("items", "dict<Item>"), field("n", "int", default=0))


def save_box(client, key, n):
    client.call("define", ITEM)
    client.call("define", BOX)
    client.call("doc.save", key, {"items": {f"k{i}": {"@pk": f"p{i}", "values": [i]}
                                            for i in range(n)}})


def test_a_container_that_is_missed_twice_is_read_once(redis_server, new_daemon):
    first = new_daemon(redis_server.address)
    with first.connect() as client:
        save_box(client, "Box:a", 100)
    first.stop()
    with new_daemon(redis_server.address).connect() as client:
        paths = [f'items["k{i}"].values' for i in range(100)]
        loads = [["doc.load", "Box:a", path] for path in paths]
        assert client.call("pipeline", loads + loads) == [[i] for i in range(100)] * 2


def test_containers_of_two_documents_in_turn_are_read_at_once(redis_server, new_daemon):
    first = new_daemon(redis_server.address)
    with first.connect() as client:
        save_box(client, "Box:a", 200)
        save_box(client, "Box:b", 200)
    first.stop()
    with new_daemon(redis_server.address).connect() as client, redis_server.client() as rdb:
        client.call("pipeline", [["doc.load", f"Box:{name}", 'items["k0"].values'] for name in "ab"])
        before = rdb.info("stats")["total_commands_processed"]
        loads = [["doc.load", f"Box:{name}", f'items["k{i}"].values']
                 for i in range(1, 200) for name in "ab"]
        assert client.call("pipeline", loads) == [[i] for i in range(1, 200) for _ in "ab"]
        # Two for each of the 400 elements, and one more; not both documents again for each step.
        assert rdb.info("stats")["total_commands_processed"] - before < 1600


def test_a_save_behind_a_change_gives_the_deadline_to_all_keys(client, rdb):
    client.call("define", atomic("Mortal", field("name", "str"), field("tags", "list<str>"), ttl=100))
    client.call("doc.save", "Mortal:a", {"name": "a", "tags": ["x"]})
    client.call("doc.ttl", "Mortal:a", 0)
    assert rdb.ttl("rapyer:{Mortal:a}") == -1
    client.call("pipeline", [["set", "Mortal:a", "name", "b"], ["list.append", "Mortal:a", "tags", "y"],
                             ["doc.save", "Mortal:a", {"name": "c", "tags": ["z"]}]])
    assert 0 < rdb.ttl("rapyer:{Mortal:a}") <= 100
    assert 0 < rdb.ttl("rapyer:{Mortal:a}/tags") <= 100
    assert 0 < client.call("doc.ttl", "Mortal:a") <= 100


def test_a_deadline_that_passes_within_a_pipeline(patient_client):
    client = patient_client
    client.call("define", atomic("Fly", field("n", "int", default=0), field("tags", "list<str>")))
    operations = [["num.incr", "Fly:a", "n", 1], ["list.append", "Fly:a", "tags", "x"]] * 20000
    for _ in range(3):
        client.call("doc.save", "Fly:a", {})
        client.call("doc.ttl", "Fly:a", 1)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:  # one of them is under way when the second is over
            try:
                results = client.call("pipeline", operations)
            except RpcError as error:
                assert error.code == "NOT_FOUND", error
                assert client.call("doc.exists", "Fly:a") == 0
                break
            assert results[2] - results[0] == 1 and len(results) == 40000
        assert client.call("doc.exists", "Fly:a") == 0


def test_second_sigterm_while_redis_does_not_answer(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address)
    with daemon.connect() as client:
        save_ada(client)
    redis_server.pause()
    daemon.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping on" in daemon.log(), what="the first signal")
    time.sleep(0.1)  # it has asked Redis to remove its marker
    started = time.monotonic()
    daemon.stop()
    assert time.monotonic() - started < 2


def test_the_end_answers_what_it_cannot_do_any_more(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"commit.queue_time": "60s"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        redis_server.pause()
        ids = [client.send("num.incr", KEY, "age", 1), client.send("doc.get", "User:nobody"),
               client.send("doc.get", KEY), client.send("define", with_fields(USER, *MORE)),
               client.send("doc.keys", "User")]
        other.call("hello")
        daemon.process.send_signal(signal.SIGTERM)
        for i in ids:
            with pytest.raises(RpcError, match="^(UNAVAILABLE|UNKNOWN_OUTCOME): "):
                client.wait(i)
        daemon.stop()


def test_the_end_answers_what_waits_for_redis_at_the_start(new_daemon, workdir):
    daemon = new_daemon(f"unix:{workdir}/nobody.sock", {"commit.queue_time": "60s"})
    with daemon.connect() as client:
        request = client.send("doc.get", KEY)
        client.call("hello")
        daemon.process.send_signal(signal.SIGTERM)
        with pytest.raises(RpcError, match="^UNAVAILABLE: "):
            client.wait(request)
        daemon.stop()


def test_the_end_comes_under_load_too(redis_server, new_daemon):
    """Every request is answered or refused, and a busy client cannot put the end off."""
    daemon = new_daemon(redis_server.address)
    with daemon.connect() as client:
        save_ada(client)
    done, failed = [], []

    def work():
        try:
            with daemon.connect() as client:
                while True:
                    ids = [client.send("num.incr", KEY, "age", 1) for _ in range(20)]
                    for i in ids:
                        done.append(client.wait(i))
        except (Closed, BrokenPipeError, ConnectionError):
            pass
        except RpcError as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(done) > 500, what="load")
    started = time.monotonic()
    daemon.stop()
    assert time.monotonic() - started < 3
    for thread in threads:
        thread.join()
    assert all(error.code == "UNAVAILABLE" for error in failed), failed
    with redis_server.client() as rdb:
        assert int(rdb.hget("rapyer:{User:ada}", "age")) >= 36 + len(done)


def test_an_answer_is_bounded_however_short_the_request(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"limits.client_output": "4M"})
    with daemon.connect() as client:
        save_ada(client)
        client.call("set", KEY, "bio", "x" * (1 << 20))
        before = daemon.memory()
        for request in (("doc.get_many", [KEY] * 3000), ("doc.get", KEY, {"paths": ["bio"] * 3000}),
                        ("pipeline", [["doc.get", KEY]] * 3000)):
            with pytest.raises(RpcError, match="^TOO_LARGE: "):
                client.call(*request)
        assert daemon.memory() - before < 100 << 20
        assert len(client.call("doc.get_many", [KEY] * 3)) == 3


def test_documents_of_one_request_are_bounded(client):
    save_ada(client)
    with pytest.raises(RpcError, match="^TOO_LARGE: "):
        client.call("doc.exists", *(f"User:{i}" for i in range(100001)))
    assert client.call("doc.exists", KEY) == 1


def test_reads_that_wait_for_a_commit_are_bounded(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"commit.queue_bytes": "4M"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        client.call("set", KEY, "bio", "x" * 100000)
        client.call("doc.get", KEY)
        redis_server.pause()
        write = client.send("num.incr", KEY, "age", 1)
        reads = [client.send("doc.get", KEY) for _ in range(300)]
        other.call("hello")
        refused = 0
        for read in reads[100:]:
            with pytest.raises(RpcError, match="^UNAVAILABLE: .*queue_bytes"):
                client.wait(read)
            refused += 1
        assert refused == 200
        redis_server.resume()
        assert client.wait(write) == 37 and client.wait(reads[0])["age"] == 37


def test_requests_held_for_the_first_contact_are_bounded(new_daemon, workdir):
    daemon = new_daemon(f"unix:{workdir}/nobody.sock", {"commit.queue_bytes": "1M",
                                                        "commit.queue_time": "60s"})
    with daemon.connect() as client:
        ids = [client.send("doc.save", KEY, {"bio": "x" * 100000}) for _ in range(30)]
        with pytest.raises(RpcError, match="^UNAVAILABLE: .*queue_bytes"):
            client.wait(ids[-1])


def test_a_request_about_many_documents_does_not_stall_the_others(patient, patient_client):
    daemon, client = patient, patient_client
    save_box(client, "Box:first", 1)
    before = daemon.cpu()
    client.call("doc.insert", [[f"Box:{i}", {"items": {}}] for i in range(8000)])
    small = daemon.cpu() - before
    before = daemon.cpu()
    client.call("doc.insert", [[f"Box:a{i}", {"items": {}}] for i in range(32000)])
    # Four times as many; looking at all of them for each one would make it sixteen times.
    assert daemon.cpu() - before < 12 * small


def test_declarations_are_stored_again_when_redis_has_lost_them(daemon, redis_server, rdb, new_daemon):
    with daemon.connect() as client:
        save_ada(client)
        redis_server.restart()  # without any data
        wait_until(lambda: rdb.hlen("rapyer:@schema") == len(MODELS) + 1, what="the declarations")
        client.call("doc.save", KEY, ADA)
    with new_daemon(redis_server.address).connect() as client:
        assert client.call("doc.get", KEY)["name"] == "Ada"
