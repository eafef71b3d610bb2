"""The client for asyncio: librediscluster with the interface of redis.asyncio."""

from redis.cluster import ClusterNode

from ..exceptions import *
from ..exceptions import __all__ as _exceptions
from .client import RedisCluster
from .pipeline import ClusterPipeline
from .pubsub import PubSub

__all__ = ["ClusterNode", "ClusterPipeline", "PubSub", "RedisCluster"]
__all__ += [name for name in _exceptions if name != "error"]
