"""RMSNorm for twingrad; to import it is to register it."""

from twingrad_rms_norm.layer import RMSNorm

__all__ = ["RMSNorm"]
