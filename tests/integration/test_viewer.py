"""The page for a browser: what it shows is true, in a real browser, and whatever names clients give to things;
who may see what; and that it is in nobody's way."""

import http.client
import os
import socket

import msgpack
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from models import KEY, save_ada
from rpc_client import RpcError, wait_until

SCRIPT, QUOTES = "User:<script>alert(1)</script>", "User:\"'><img src=x onerror=alert(1)>"
TURNED = "User:\u202e\u05d0\u05d1\u05d2 abc\u0645\u0631\u062d\u0628\u0627"
LONG = "User:" + "long" * 62
OWNER = "</text><script>alert(3)</script>"
CONNECTIONS = 16  # of daemon/metrics/http.c
AT_ONCE = 4  # of daemon/methods/viewer.c


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Page:
    """What the page asks for, without a browser."""

    def __init__(self, port):
        self.port = port

    def ask(self, what, headers=(), method="GET"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, what, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def value(self, what):
        status, body, headers = self.ask("/api/" + what)
        assert status == 200 and headers["Content-Type"] == "application/msgpack", body
        return msgpack.unpackb(body, timestamp=3)

    def refused(self, what, status):
        got, body, _ = self.ask("/api/" + what)
        assert got == status
        return body.decode()


@pytest.fixture
def new_page(redis_server, new_daemon):
    def new(level, **settings):
        port = free_port()
        daemon = new_daemon(redis_server.address,
                            {"metrics.listen": f"127.0.0.1:{port}", "metrics.viewer": level, **settings})
        return daemon, Page(port)

    return new


@pytest.fixture
def shown(new_page):
    return new_page("contents")


# --- who may see what ---------------------------------------------------------------------------


def test_by_default_no_names_are_shown(redis_server, new_daemon):
    port = free_port()
    daemon, page = new_daemon(redis_server.address, {"metrics.listen": f"127.0.0.1:{port}"}), Page(port)
    with daemon.connect() as client:
        save_ada(client)
        client.call("lock.acquire", KEY, "edit")
        now = page.value("overview")
        assert now["level"] == "figures" and now["trouble"] == "" and now["now"]["stats"]["redis"] == "up"
        assert set(now["now"]) == {"at", "stats", "latency", "cache"}
        assert b"ada" not in page.ask("/api/overview")[1] and page.value("doctor") and "at" in page.value("history")
        for what in ("models", "keys?model=User"):
            assert "metrics.viewer = names" in page.refused(what, 403)
        assert "metrics.viewer = contents" in page.refused("document?key=User:ada", 403)


def test_names_are_not_contents(new_page):
    daemon, page = new_page("names")
    with daemon.connect() as client:
        save_ada(client)
        client.call("lock.acquire", KEY, "edit", {"owner": OWNER})
        now = page.value("overview")["now"]
        assert now["locks"][0]["key"] == KEY and now["locks"][0]["holders"][0]["owner"] == OWNER
        assert now["clients"][0]["pid"] == os.getpid() and now["hottest"][0]["key"] == KEY
        assert "User" in {m["name"] for m in page.value("models")}
        assert page.value("keys?model=User")["keys"] == [KEY]
        assert "metrics.viewer = contents" in page.refused("document?key=User:ada", 403)


def test_contents(shown):
    daemon, page = shown
    with daemon.connect() as client:
        save_ada(client)
        found = page.value("document?key=User%3Aada")
        assert found["name"] == "Ada" and found["@v"] == client.call("doc.get", KEY, {"version": True})["@v"]
        assert page.refused("document?key=User:nobody", 404).startswith("NOT_FOUND: ")
        assert page.refused("document", 400).startswith("BAD_KEY: ")
        assert page.refused("keys?model=Nothing", 400).startswith("UNKNOWN_MODEL: ")
        assert page.refused("keys?model=User&cursor=x", 400) and page.refused("elsewhere", 404)
        client.call("doc.save", "User:big", {"name": "big", "bio": "x" * (2 << 20)})
        assert page.refused("document?key=User:big", 413).startswith("TOO_LARGE: ")


def test_it_can_be_off_and_other_words_are_refused(new_page, redis_server, new_daemon):
    _, page = new_page("off")
    assert page.ask("/")[0] == page.ask("/api/overview")[0] == 404 and page.ask("/metrics")[0] == 200
    with pytest.raises(AssertionError, match="metrics.viewer: .all. is not one of off, figures, names, contents"):
        new_daemon(redis_server.address, {"metrics.listen": "off", "metrics.viewer": "all"})


def test_rules_do_not_stand_in_its_way_and_it_may_only_read(redis_server, new_daemon, workdir):
    rules, port = os.path.join(workdir, "rights"), free_port()
    with open(rules, "w", encoding="utf-8") as file:
        file.write("* write,define User, Task, Section, Settings, Address\n")
    daemon = new_daemon(redis_server.address, {"metrics.listen": f"127.0.0.1:{port}", "metrics.viewer": "contents",
                                               "rights.file": rules})
    with daemon.connect() as client:
        save_ada(client)
        with pytest.raises(RpcError, match="^FORBIDDEN"):
            client.call("admin.doctor")
        assert Page(port).value("doctor") and Page(port).value("document?key=User:ada")["age"] == 36
    for method in ("POST", "PUT", "DELETE"):
        assert Page(port).ask("/api/document?key=User:ada", method=method)[0] in (405, 501)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9680", "127.0.0.1.evil.example", "localhost.evil.example",
                                  "10.0.0.1", "[::2]", "[::1", "", "x" * 5000])
def test_a_name_from_elsewhere_that_leads_here_is_refused(shown, host):
    _, page = shown
    for what in ("/", "/api/overview", "/metrics"):
        assert page.ask(what, {"Host": host})[0] == 421
    for here in ("localhost", "LOCALHOST:1", "127.0.0.1:5", "127.9.8.7", "[::1]:80", "[::1]"):
        assert page.ask("/", {"Host": here})[0] == 200


def test_pages_of_other_sites_get_nothing(shown):
    _, page = shown
    for site in ("cross-site", "same-site"):
        assert page.ask("/api/overview", {"Sec-Fetch-Site": site})[0] == 403
    status, body, headers = page.ask("/api/overview", {"Sec-Fetch-Site": "same-origin"})
    assert status == 200 and "Access-Control-Allow-Origin" not in headers
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and headers["X-Content-Type-Options"] == "nosniff"
    _, body, headers = page.ask("/")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"") and b"https://" not in body


# --- bounds -------------------------------------------------------------------------------------


def test_thousands_of_locks_and_clients_make_no_long_answer(new_page):
    daemon, page = new_page("names", **{"locks.client_locks": 5000})
    with daemon.connect() as client:
        save_ada(client)
        others = [daemon.connect() for _ in range(100)]
        for n in range(3000):
            client.send("lock.acquire", LONG, f"action {n}")
        client.call("hello")
        for other in others:
            other.send("lock.acquire", LONG, "action 7")
            other.call("hello")
        status, body, _ = page.ask("/api/overview")
        now = msgpack.unpackb(body)["now"]
        assert status == 200 and len(body) < 64 << 10
        assert len(now["locks"]) == 40 and len(now["clients"]) == 20
        assert now["locks"][0]["action"] == "action 7" and now["locks"][0]["waiting"] == 100
        assert len(now["locks"][0]["waiters"]) == 12
        for other in others:
            other.close()


def asking(page):
    """A connection that has asked for what Redis has to say."""
    link = socket.create_connection(("127.0.0.1", page.port))
    link.sendall(b"GET /api/keys?model=User HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return link


def test_who_asks_and_goes_away_leaves_nothing(shown, redis_server):
    daemon, page = shown
    with daemon.connect() as client:
        save_ada(client)
        page.value("doctor")
        redis_server.pause()
        for _ in range(3 * CONNECTIONS):
            asking(page).close()
        assert page.refused("keys?model=User", 503).startswith("BUSY: ")
        assert len(client.call("admin.clients")) == 1 + AT_ONCE
        redis_server.resume()
        wait_until(lambda: len(client.call("admin.clients")) == 1, what="the end of what was asked")
        assert page.value("keys?model=User")["keys"] == [KEY]


def test_it_ends_while_it_is_asked(shown, redis_server):
    daemon, page = shown
    with daemon.connect() as client:
        save_ada(client)
        page.value("doctor")
        redis_server.pause()
        waiting = [asking(page) for _ in range(3)]
        wait_until(lambda: len(client.call("admin.clients")) == 1 + 3, what="what was asked")
    redis_server.resume()
    daemon.stop()
    for one in waiting:
        one.close()


def test_without_redis_it_says_so(shown, redis_server):
    daemon, page = shown
    with daemon.connect() as client:
        save_ada(client)
    redis_server.kill()
    said = wait_until(lambda: page.value("overview")["trouble"], what="the loss of Redis")
    assert "Redis" in said or "connect" in said
    assert wait_until(lambda: page.value("overview")["now"]["stats"]["redis"] != "up", what="the same in the figures")
    redis_server.start()
    wait_until(lambda: page.value("overview")["trouble"] == "", what="Redis")


# --- in a browser -------------------------------------------------------------------------------


@pytest.fixture
def browser(workdir):
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900",
                   f"--user-data-dir={workdir}/chromium"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options)
    yield driver
    driver.quit()


def narrow(browser, width, dark):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})


def text_of(browser, part):
    return browser.find_element(By.ID, part).text


def contrast(browser):
    """Of the ink on a card, as WCAG counts it."""
    def luminance(colour):
        parts = [int(c) / 255 for c in colour[colour.index("(") + 1:-1].split(",")[:3]]
        r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    card, soft = browser.execute_script(
        "return [getComputedStyle(document.querySelector('section')).backgroundColor,"
        "        getComputedStyle(document.querySelector('.soft')).color]")
    low, high = sorted((luminance(card), luminance(soft)))
    return (high + 0.05) / (low + 0.05)


def hostile(client):
    save_ada(client)
    for key in (SCRIPT, QUOTES, TURNED, LONG):
        client.call("doc.save", key, {"name": "</script><script>alert(2)</script>", "bio": "\u202e<b>x</b>",
                                      "counts": {"<img src=x onerror=alert(4)>": 1, "x" * 10000: 2}})
        for _ in range(5):
            client.call("doc.load", key, "name")


def test_hostile_names_are_only_names(shown, browser):
    daemon, page = shown
    with daemon.connect() as client, daemon.connect() as holder, daemon.connect() as waiter:
        hostile(client)
        holder.call("lock.acquire", SCRIPT, "edit <b>", {"owner": OWNER})
        waiter.send("lock.acquire", SCRIPT, "edit <b>", {"owner": OWNER, "wait": 60})
        waiter.call("hello")
        browser.get(f"http://127.0.0.1:{page.port}/")
        wait_until(lambda: SCRIPT in text_of(browser, "documents") and SCRIPT in text_of(browser, "locks"), what="names")
        assert QUOTES in text_of(browser, "documents") and "\u27e8202e\u27e9" in text_of(browser, "documents")
        graph = browser.find_elements(By.CSS_SELECTOR, "#graph text")
        assert any(t.text.startswith("client ") for t in graph) and any("<script" in t.text for t in graph)
        assert len(browser.find_elements(By.CSS_SELECTOR, "#graph .edge.waits")) == 1
        words = browser.find_element(By.ID, "words")
        words.send_keys("User:*script*")
        words.submit()
        wait_until(lambda: "1 found" in text_of(browser, "found"), what="the search")
        browser.find_element(By.CSS_SELECTOR, "#found button").click()
        wait_until(lambda: "</script><script>" in text_of(browser, "document"), what="the document")
        counts = next(s for s in browser.find_elements(By.CSS_SELECTOR, "#document summary") if s.text.startswith("counts"))
        counts.click()
        wait_until(lambda: "<img src=x onerror=alert(4)>" in text_of(browser, "document"), what="the inner names")
        for width, dark in ((1280, False), (390, True), (390, False), (320, False)):
            narrow(browser, width, dark)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert contrast(browser) > 4.5
        assert browser.execute_script("return [document.scripts.length, document.images.length]") == [1, 0]
        assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def test_what_it_shows_is_so(shown, browser, redis_server):
    daemon, page = shown
    with daemon.connect() as client:
        save_ada(client)
        browser.get(f"http://127.0.0.1:{page.port}/")
        wait_until(lambda: "is up" in text_of(browser, "redis"), what="the state of Redis")
        wait_until(lambda: "persistence" in text_of(browser, "doctor"), what="doctor")

        def busy():
            for _ in range(50):
                client.call("num.incr", KEY, "age", 1)
            return "num.incr" in text_of(browser, "methods")

        wait_until(busy, what="the method")
        wait_until(lambda: page.value("history")["at"], what="a sample")
        past = page.value("history")
        client.call("admin.set", "upgrade.still_time", "30s")
        client.call("admin.upgrade")
        assert all(page.value("history")[name][:len(values)] == values for name, values in past.items()), "as before"
        wait_until(lambda: "\u2013" not in text_of(browser, "plots").split("\n")[1], what="a plot")
        words = browser.find_element(By.ID, "words")
        words.send_keys("us")
        words.submit()
        wait_until(lambda: text_of(browser, "found") == "User", what="the models")
        redis_server.kill()
        wait_until(lambda: "Nothing is carried out now" in text_of(browser, "trouble"), what="the trouble")
        daemon.kill()
        wait_until(lambda: "does not answer" in text_of(browser, "when"), what="that nobody answers")
