"""The probes and ports of the manifests are there in running processes."""

import aiohttp
import pytest

from carillon.local.ports import SERVICES
from carillon.local.stack import Stack
from tests.manifests import Pod


@pytest.mark.parametrize("service", SERVICES)
async def test_a_running_service_answers_the_probes_of_its_pod(stack: Stack, service: str) -> None:
    container = Pod("prod", service).container
    bases = {"ops": stack.ops_url(service), "http": stack.realtime_url}
    async with aiohttp.ClientSession() as http:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            within = aiohttp.ClientTimeout(total=container[probe].get("timeoutSeconds", 1))
            async with http.get(f"{bases[asked['port']]}{asked['path']}", timeout=within) as answer:
                assert answer.status == 200, probe
        for port in container["ports"]:
            async with http.get(f"{bases[port['name']]}/metrics") as answer:
                assert answer.status == (200 if port["name"] == "ops" else 404)
