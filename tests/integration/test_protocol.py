"""What PROTOCOL.md says of methods and ids. Its examples are told in test_protocol_md.py."""

import os
import re

import pytest

from daemon_process import REPOSITORY

PROTOCOL = os.path.join(REPOSITORY, "protocol", "PROTOCOL.md")


def test_every_method_and_feature_of_the_text_is_known(client):
    with open(PROTOCOL, encoding="utf-8") as file:
        text = file.read()
    named = set(re.findall(r"`((?:doc|num|str|bytes|datetime|list|dict|admin)\.[a-z_]+)", text))
    assert len(named) > 30
    assert named <= set(client.call("hello")["features"])


@pytest.mark.parametrize("request_id", [0, 127, 128, 65536, 2**32, 2**64 - 1])
def test_ids_come_back_by_value(client, request_id):
    client.send_raw(client.pack([0, request_id, "hello", []]))
    assert client.read_message()[:3] == [1, request_id, None]
