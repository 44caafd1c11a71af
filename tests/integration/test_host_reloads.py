"""Many reloads under load: no request fails (CONTRACT 3)."""

import asyncio
import time

from tests.integration.host_rig import running

SYNC = "def handle(request): return request['text']"


async def test_fifty_reloads_under_load_without_one_failed_request(tmp_path):
    """Eight clients, sync and async versions in turn; a saved file answers within 500 ms, p50 within 150."""
    template = "{}def handle(request): return {}"
    async with running(tmp_path, {"a.py": template.format("", 0)}) as rig:
        over, answers, latencies = asyncio.Event(), 0, []

        async def client():
            nonlocal answers
            while not over.is_set():
                await rig.ask("a")
                answers += 1
                await asyncio.sleep(0.001)

        clients = [asyncio.get_running_loop().create_task(client()) for _ in range(8)]
        for n in range(1, 51):
            rig.write("a.py", template.format("async " if n % 2 else "", n))
            began = time.monotonic()
            while await rig.ask("a") != n:
                await asyncio.sleep(0.002)
            latencies.append(time.monotonic() - began)
        over.set()
        await asyncio.gather(*clients)
        assert answers > 500
        assert max(latencies) < 0.5
        assert sorted(latencies)[25] < 0.15
