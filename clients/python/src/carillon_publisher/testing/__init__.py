"""For the tests of programs that publish: fakes that judge like the router, and a Carillon to run against.

    from carillon_publisher.testing import FakePublisher

With pytest, the fixture ``carillon`` starts a real Carillon; see ``carillon_publisher.pytest_plugin``.
"""

from carillon_publisher.testing.fake import FakeAsyncPublisher, FakePublisher, Published
from carillon_publisher.testing.running import RunningCarillon

__all__ = ["FakeAsyncPublisher", "FakePublisher", "Published", "RunningCarillon"]
