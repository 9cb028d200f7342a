"""`/metrics`, for Prometheus."""

from fastapi import APIRouter, Request, Response

from legato.gateway.dependencies import Administrator
from legato.gateway.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["server"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}},
)
async def metrics(request: Request, person: Administrator) -> Response:
    """Return the metrics of the server. With authentication, the scope of the token must contain `admin`."""
    numbers: Metrics = request.app.state.metrics
    return Response(numbers.text(), headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})
