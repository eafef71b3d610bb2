"""A client for Redis Cluster and Valkey Cluster: librediscluster with redis-py's interface."""

from redis.cluster import ClusterNode

from .client import RedisCluster, StrictRedisCluster
from .exceptions import *
from .exceptions import __all__ as _exceptions
from .pipeline import ClusterPipeline, StrictClusterPipeline
from .pubsub import PubSub

__version__ = "0.1.0"
VERSION = tuple(int(part) for part in __version__.split("."))
__all__ = [
    "ClusterNode",
    "ClusterPipeline",
    "PubSub",
    "RedisCluster",
    "StrictClusterPipeline",
    "StrictRedisCluster",
]
__all__ += [name for name in _exceptions if name != "error"]
