"""FastAPI: one connection serves all requests of a worker.

RAPYER_SOCKET=/path/to/rapyerd.sock uvicorn web_fastapi:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

import rapyerd
from rapyerd import AtomicRedisModel, Key
from rapyerd.errors import KeyNotFound, UnavailableError


class Basket(AtomicRedisModel):
    owner: Key[str]
    items: dict[str, int] = {}
    changes: int = 0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    rapyerd.close_all()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(UnavailableError)
async def unavailable(request: Request, error: UnavailableError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=503)


@app.put("/baskets/{owner}")
async def make(owner: str) -> Basket:
    result = await Basket.get_or_create(Basket(owner=owner))
    return result.value


@app.get("/baskets/{owner}")
async def read(owner: str) -> Basket:
    try:
        return await Basket.get(owner)
    except KeyNotFound:
        raise HTTPException(404, f"{owner} has no basket") from None


@app.post("/baskets/{owner}/{item}")
async def put_in(owner: str, item: str, count: int = 1) -> Basket:
    try:
        async with Basket.lock_from_key(owner, "change") as basket:
            basket.items[item] = basket.items.get(item, 0) + count
            basket.changes += 1
            return basket
    except KeyNotFound:
        raise HTTPException(404, f"{owner} has no basket") from None


def main() -> None:
    from fastapi.testclient import TestClient

    with TestClient(app) as client:
        assert client.get("/baskets/ada").status_code == 404
        assert client.put("/baskets/ada").json()["items"] == {}
        client.post("/baskets/ada/tea?count=2")
        assert client.post("/baskets/ada/tea").json() == {"owner": "ada", "items": {"tea": 3}, "changes": 2}
        assert client.get("/baskets/ada").json()["items"] == {"tea": 3}


if __name__ == "__main__":
    main()
