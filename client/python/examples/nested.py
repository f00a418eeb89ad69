"""Models in models, at every depth with operations of their own.

Run it with a daemon that is running: RAPYER_SOCKET=/path/to/rapyerd.sock python nested.py
"""

import asyncio
from datetime import datetime

from pydantic import BaseModel, Field

from rapyerd import AtomicRedisModel


class Address(BaseModel):
    """A pydantic model: a value in lists, and with operations on its fields in a field."""

    street: str
    city: str = ""


class Settings(AtomicRedisModel):
    theme: str = "light"
    notifications: dict[str, bool] = {}


class Task(AtomicRedisModel):
    title: str
    done: bool = False
    tags: list[str] = []


class Section(AtomicRedisModel):
    name: str
    tasks: list[Task] = []


class Project(AtomicRedisModel):
    name: str
    visits: int = 0
    changed: datetime = None
    office: Address = Field(default_factory=lambda: Address(street="Main St"))
    others: list[Address] = []
    settings: Settings = Field(default_factory=Settings)
    sections: list[Section] = []


async def main() -> Project:
    project = Project(name="Website")
    await project.save()

    # Every place has operations, however deep.
    await project.visits.increase()
    await project.settings.notifications.aupdate(mail=True, phone=False)
    await project.others.aappend(Address(street="Side St", city="Boston"))
    project.office.city = "Berlin"
    await project.office.city.save()

    # Drafts cost no I/O. Put into a document, their handles go on working where they live now.
    design = Section(name="Design")
    wires = Task(title="Wireframes")
    await design.tasks.aextend([wires, Task(title="Colours")])
    await project.sections.aappend(design)
    await project.sections[0].tasks[0].tags.aappend("urgent")
    await design.tasks.ainsert(0, Task(title="Before all"))
    await wires.tags.aappend("by its handle")

    same = await Project.get(project.key)
    assert same == project
    assert same.sections[0].tasks[1].tags == ["urgent", "by its handle"]
    assert same.settings.notifications == {"mail": True, "phone": False}
    return project


if __name__ == "__main__":
    print(asyncio.run(main()))
