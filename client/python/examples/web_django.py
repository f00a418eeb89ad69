"""Django: blocking views with rapyerd.sync, an asynchronous one with the same models.

RAPYER_SOCKET=/path/to/rapyerd.sock gunicorn --preload --workers 4 web_django:application
"""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from rapyerd import AtomicRedisModel, Key, sync
from rapyerd.errors import KeyNotFound

if not settings.configured:
    settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="only an example", ALLOWED_HOSTS=["*"])
    django.setup()


class Page(AtomicRedisModel):
    slug: Key[str]
    text: str = ""
    visits: int = 0
    notes: list[str] = []


SyncPage = sync.twin(Page)


def show(request: HttpRequest, slug: str) -> HttpResponse:
    try:
        page = SyncPage.get(slug)
    except KeyNotFound:
        return HttpResponse(status=404)
    page.visits.increase()
    return JsonResponse(page.model_dump())


def edit(request: HttpRequest, slug: str) -> HttpResponse:
    SyncPage.get_or_create(SyncPage(slug=slug))
    with SyncPage.lock_from_key(slug, "edit") as page:
        page.text = request.GET["text"]
        page.notes.append("edited")
    return JsonResponse(page.model_dump())


async def count(request: HttpRequest, slug: str) -> HttpResponse:
    page = await Page.get(slug)
    return JsonResponse({"visits": page.visits})


urlpatterns = [
    path("<slug:slug>", show),
    path("<slug:slug>/edit", edit),
    path("<slug:slug>/count", count),
]
application = get_wsgi_application()


def main() -> None:
    from django.test import Client

    client = Client()
    assert client.get("/home").status_code == 404
    assert client.get("/home/edit", {"text": "Welcome"}).json()["notes"] == ["edited"]
    assert client.get("/home").json()["visits"] == 1
    assert client.get("/home").json()["text"] == "Welcome"
    assert client.get("/home/count").json() == {"visits": 2}


if __name__ == "__main__":
    main()
