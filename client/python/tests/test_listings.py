"""The listings of the product document run as they stand, and have the outcome that their text promises.

What a block uses and does not define is defined around it, here and nowhere else:

| block | from where |
|---|---|
| all | the imports of block 1: AtomicRedisModel, BaseModel, Field, List, Dict, datetime |
| 9 | `user`: block 2 |
| 10 | `Any`, and the document LargeDataset:123 |
| 11 | `OrderItem`: block 6 |
| 12 | `UserSettings`: block 2; `UserProfile`: block 7 |
| 13, 14 | `user`, of a model with the fields that they name |
"""

from datetime import datetime
from typing import Any, Dict, List, Optional

import pytest
from pydantic import BaseModel, Field
from rpc_client import Client

from listings import blocks, document, run
from rapyerd import AtomicRedisModel, errors, install_as_rapyer

install_as_rapyer()  # the listings import rapyer
PATH = document()
BLOCKS = blocks(PATH) if PATH else []
IMPORTS = {
    "AtomicRedisModel": AtomicRedisModel,
    "BaseModel": BaseModel,
    "Field": Field,
    "List": List,
    "Dict": Dict,
    "datetime": datetime,
}


def test_all_blocks_are_here():
    assert len(BLOCKS) == 15


async def block(number, **around):
    """The namespace that a block leaves behind; blocks are counted from 1."""
    return await run(BLOCKS[number - 1], {**IMPORTS, **around}, f"block {number}")


def plain(value):
    """Without pks, which are made up."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "@pk"}
    return [plain(v) for v in value] if isinstance(value, list) else value


async def test_01_basic_nested_structure(daemon, stored):
    names = await block(1)
    assert plain(stored(names["user"])) == {
        "user_id": "user123",
        "addresses": [{"street": "123 Main St", "city": "Boston", "country": "USA", "postal_code": "02101"}],
        "contact_info": {"email": "john@example.com", "phone": "555-1234", "emergency_contact": ""},
        "preferences": {},
        "tags": [],
    }
    assert await names["UserProfile"].get(names["user"].key) == names["user"]


async def test_02_redis_enabled_models(daemon, stored):
    names = await block(2)
    assert plain(stored(names["user"])) == {
        "username": "johndoe",
        "email": "john@example.com",
        "settings": {
            "theme": "light",
            "notifications": {"email_alerts": True, "push_notifications": False, "weekly_summary": True},
            "dashboard_config": ["weather_widget", "news_feed", "calendar"],
        },
        "stats": {
            "login_count": 0,
            "last_activity": None,
            "feature_usage": {"dashboard_views": 5, "profile_edits": 2, "settings_changes": 1},
        },
        "tags": [],
    }


async def test_03_complex_hierarchy(daemon, stored):
    names = await block(3)
    project = names["project"]
    found = stored(project)
    assert [section["name"] for section in found["sections"]] == ["Frontend Development"]
    tasks = found["sections"][0]["tasks"]
    assert [task["title"] for task in tasks] == ["Create wireframes", "Implement responsive design"]
    assert tasks[0]["tags"] == ["high-priority"]
    assert tasks[0]["metadata"] == {"assigned_to": "designer@company.com", "due_date": "2024-02-15"}
    assert tasks[1]["tags"] == [] and tasks[1]["metadata"] == {}
    # The drafts' handles work where they live now, whatever was put in front of them.
    await project.sections[0].tasks.ainsert(0, names["ProjectTask"](title="Before all"))
    await names["task1"].tags.aappend("by its handle")
    found = stored(project)["sections"][0]["tasks"]
    assert found[1]["@pk"] == names["task1"].pk
    assert found[1]["tags"] == ["high-priority", "by its handle"]


async def test_04_lists_in_nested_models(daemon, stored):
    names = await block(4)
    found = stored(names["author"])
    (post,) = found["posts"]
    assert post["title"] == "Getting Started with Rapyer"
    assert post["tags"] == ["redis", "python", "orm"]
    (comment,) = post["comments"]
    assert comment["author"] == "reader1" and comment["comment"] == "Great article!"
    datetime.fromisoformat(comment["timestamp"])
    assert found["author_tags"] == ["prolific_writer"]


async def test_05_dicts_in_nested_models(daemon, stored):
    names = await block(5)
    found = stored(names["guild"])
    assert plain(found["members"]) == [
        {
            "name": "Warrior123",
            "level": 1,
            "attributes": {"strength": 15, "dexterity": 12, "intelligence": 8},
            "inventory": {"sword": 1, "shield": 1, "health_potion": 5},
        }
    ]
    assert found["guild_resources"] == {"gold": 1000, "gems": 50, "experience_boost": 3}


async def test_06_pipeline(daemon, stored, capsys):
    names = await block(6)
    order = names["Order"](customer_id="c1")
    await order.save()
    items = [
        {"product_id": "p1", "quantity": 2, "price": 1250},
        {"product_id": "p2", "quantity": 1, "price": 99},
    ]
    with Client(daemon.socket) as client:
        before = client.call("doc.get", order.key, {"version": True})["@v"]
        await names["process_order_with_items"](order, items)
        assert client.call("doc.get", order.key, {"version": True})["@v"] == before + 1  # one commit
    found = stored(order)
    assert [(i["product_id"], i["quantity"], i["price"]) for i in found["items"]] == [
        ("p1", 2, 1250),
        ("p2", 1, 99),
    ]
    assert all(set(i["item_metadata"]) == {"added_at", "source"} for i in found["items"])
    assert found["order_metadata"]["item_count"] == "2"
    assert found["total_amount"] == 2599 and found["status"] == "confirmed"
    assert "Order processed with 2 items, total: $25.99" in capsys.readouterr().out
    # Refused as a whole: the second item has no price. Nothing of it stays, here or in Redis.
    with pytest.raises(KeyError):
        await names["process_order_with_items"](order, [items[0], {"product_id": "p3", "quantity": 1}])
    assert stored(order) == found
    assert len(order.items) == 2 and order.status == "confirmed"


async def test_07_locks(daemon, stored):
    names = await block(7)
    profile, account = names["UserProfile"], names["UserAccount"]
    rich = profile(user_id="rich", account=account(username="rich", balance=100))
    poor = profile(user_id="poor", account=account(username="poor"))
    await rich.save()
    await poor.save()
    assert await names["transfer_funds"](rich.key, poor.key, 70) is True
    one, other = stored(rich)["account"], stored(poor)["account"]
    assert (one["balance"], other["balance"]) == (30, 70)
    assert [entry["type"] for entry in one["transaction_history"]] == ["transfer_out"]
    assert [entry["from"] for entry in other["transaction_history"]] == ["rich"]
    assert await names["transfer_funds"](rich.key, poor.key, 31) is False
    assert (stored(rich)["account"]["balance"], stored(poor)["account"]["balance"]) == (30, 70)
    with Client(daemon.socket) as client:
        assert client.call("admin.locks") == [] or all(
            not lock["holders"] for lock in client.call("admin.locks")
        )


async def test_08_mixed_types(daemon, stored):
    names = await block(8)
    found = stored(names["company"])
    assert found["headquarters"] == {"street": "123 Main St", "city": "Boston"}
    assert plain(found["branch_offices"]) == [
        {
            "street": "789 Pine St",
            "city": "San Francisco",
            "metadata": {"opened_date": "2024-01-01", "office_type": "regional"},
            "tags": ["west_coast", "tech_hub"],
        }
    ]


async def test_09_efficiency(daemon, stored):
    two = await block(2)
    user = two["user"]
    again = await type(user).get(user.key)  # another copy, which counts as well
    await again.stats.login_count.increase(40)
    await block(9, user=user)
    found = stored(user)
    assert found["settings"]["notifications"]["email"] is True
    assert found["settings"]["notifications"]["sms"] is False
    assert found["stats"]["login_count"] == 42  # increments, not overwritten
    assert found["tags"] == ["active_user", "active_user"]


async def test_10_memory(daemon, stored):
    # The document is there before; the block finds it by its key alone.
    with Client(daemon.socket) as client:
        names = await run(BLOCKS[9].split("# Load only")[0], {**IMPORTS, "Any": Any})
        await names["LargeDataset"](name="never saved").save()  # declares the model
        client.call(
            "doc.save", "LargeDataset:123", {"name": "big", "large_data": [{"row": n} for n in range(10)]}
        )
        client.call("dict.set", "LargeDataset:123", "metadata", "rows", "10")
    names = await run(BLOCKS[9], {**IMPORTS, "Any": Any, "LargeDataset": names["LargeDataset"]}, "block 10")
    dataset = names["dataset"]
    assert dataset.metadata == {"rows": "10"}
    assert dataset.pk == "123"


async def test_11_errors(daemon, stored, capsys, rdb):
    six = await block(6)
    names = await block(11, OrderItem=six["OrderItem"])
    good = {"items": [{"product_id": "p", "quantity": 1, "price": 5}], "shipping": {"street": "Main St"}}
    order = await names["create_complex_order"]("c1", good)
    found = stored(order)
    assert found["status"] == "confirmed" and found["shipping_info"] == {"street": "Main St"}
    assert [item["price"] for item in found["items"]] == [5]
    keys = set(rdb.keys("*ComplexOrder*"))
    bad = {"items": [*good["items"], {"product_id": "p", "quantity": "many", "price": 5}], "shipping": {}}
    with pytest.raises(ValueError):
        await names["create_complex_order"]("c2", bad)
    assert set(rdb.keys("*ComplexOrder*")) == keys  # rolled back, and cleaned up
    out = capsys.readouterr().out
    assert "Order created successfully" in out and "Order creation failed" in out


async def test_11_a_pipeline_that_the_daemon_refuses_leaves_everything_as_it_was(daemon, stored):
    six = await block(6)
    names = await block(11, OrderItem=six["OrderItem"])
    order = names["ComplexOrder"](customer_id="c3")
    await order.save()
    found = stored(order)
    item = six["OrderItem"](product_id="p", quantity=1, price=5)
    with pytest.raises(errors.OutOfRangeError):
        async with order.pipeline() as pipelined:
            order.status = "confirmed"
            await pipelined.items.aappend(item)
            pipelined.items[0].quantity *= 1 << 62
            pipelined.items[0].quantity *= 1 << 62
    assert stored(order) == found
    assert order.status == "draft" and order.items == []
    assert item.quantity == 1 and not item.is_inner_model()  # a draft again


async def test_12_nesting_level(daemon, stored):
    settings = (await block(2))["UserSettings"]
    seven = await block(7)
    profile, account = seven["UserProfile"], seven["UserAccount"]
    names = await block(12, UserSettings=settings, UserProfile=profile)
    flat = names["User"]  # the second class of that name
    user = flat(
        username="u", profile_bio="b", profile_avatar="a", settings_theme="dark", settings_notifications=True
    )
    await user.save()
    assert stored(user)["settings_theme"] == "dark"
    good = await run(
        BLOCKS[11].split("# ❌")[0], {**IMPORTS, "UserSettings": settings, "UserProfile": profile}
    )
    nested = good["User"](
        username="n", profile=profile(user_id="n", account=account(username="n")), settings=settings()
    )
    await nested.save()
    await nested.settings.notifications.aupdate(mail=True)
    found = stored(nested)
    assert found["profile"]["user_id"] == "n" and found["settings"]["notifications"] == {"mail": True}


class Bio(AtomicRedisModel):
    bio: str = ""
    tags: List[str] = []


class Times(AtomicRedisModel):
    last_profile_update: Optional[datetime] = None
    last_update: datetime = None


class Person(AtomicRedisModel):
    profile: Bio = Field(default_factory=Bio)
    settings: Times = Field(default_factory=Times)


async def test_13_pipelines_for_related_operations(daemon, stored):
    user = Person()
    await user.save()
    await block(13, user=user)
    found = stored(user)
    assert found["profile"] == {"bio": "Updated bio", "tags": ["updated"]}
    assert (
        abs((found["settings"]["last_profile_update"].replace(tzinfo=None) - datetime.now()).total_seconds())
        < 60
    )


async def test_14_lock_for_related_changes(daemon, stored):
    user = Person()
    await user.save()
    await block(14, user=user)
    found = stored(user)
    assert found["profile"] == {"bio": "New bio", "tags": ["verified"]}
    assert found["settings"]["last_update"] is not None


async def test_15_social_media(daemon, stored):
    names = await block(15)
    user = names["SocialUser"](
        username="ada", email="a@x", profile=names["UserProfile"](user_id="1", display_name="Ada")
    )
    await user.save()
    post = await names["create_post_with_engagement"](user, "Hello", ["first", "news"])
    found = stored(user)
    assert [p["@pk"] for p in found["posts"]] == [post.pk]
    assert found["posts"][0]["tags"] == ["first", "news"]
    assert found["posts"][0]["metadata"]["platform"] == "web"
    assert [entry["action"] for entry in found["activity_log"]] == ["post_created"]
    assert await names["like_post"](user, post) is True
    assert await names["like_post"](user, post) is False  # liked already
    found = stored(user)
    assert found["posts"][0]["likes"] == ["ada"] and "last_interaction" in found["posts"][0]["metadata"]
    assert [entry["action"] for entry in found["activity_log"]] == ["post_created", "liked_post"]


async def test_all_in_one_story(daemon, stored):
    """One after the other in one namespace, as somebody who reads them types them."""
    names = {}
    await run("from typing import Any", names)
    for number, source in enumerate(BLOCKS, 1):
        if number == 10:
            await run(source.split("# Load only")[0], names)
            dataset = names["LargeDataset"](name="big")
            dataset.pk = "123"
            await dataset.save()
        if number == 13:
            names["user"] = Person()
            await names["user"].save()
        await run(source, names, f"block {number}")
    assert stored(names["user"])["profile"]["tags"] == ["updated", "verified"]
