"""What `make images` tells an image: nothing of the machine that it is built on."""

from pathlib import Path

from carillon.local.ports import SERVICES
from carillon.local.stack import Stack
from tests.images import Files


async def test_every_file_that_a_setting_names_is_among_those_that_the_image_is_given(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack", services=())
    await stack.start()
    try:
        files = Files(stack, tmp_path)
        for service in SERVICES:
            settings = files.environment(service)
            named = [Path(value) for value in settings.values() if value.startswith("/")]
            assert all(path.exists() and path.is_relative_to(files.folder) for path in named)
            assert {"MQTT_URL", "REDIS_URL", "TEMPLATES_DIR"} <= settings.keys()
            others = [each for each in SERVICES if each != service]
            assert not [name for name in settings for other in others if name.startswith(f"{other.upper()}_")]
    finally:
        await stack.stop()
