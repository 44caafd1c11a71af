"""What the profiles look like from outside: their manifests, and what the engine has of them. Pure (CONTRACT 1)."""

from collections.abc import Mapping

from orchestrator.contracts.executions import Kernel
from orchestrator.contracts.profiles import ProfileView
from orchestrator.sandbox.backends.port import Facts
from orchestrator.sandbox.profiles import Profile


def of_profiles(known: Mapping[str, Profile], kernel: Kernel, facts: Facts | None) -> list[ProfileView]:
    """All profiles by name; without `facts`, none is available."""
    return [_of(profile, kernel, facts) for _, profile in sorted(known.items())]


def _of(profile: Profile, kernel: Kernel, facts: Facts | None) -> ProfileView:
    says = profile.manifest
    image = facts.images.get(profile.name) if facts else None
    built = facts.packages.get(profile.name) if facts and image else None
    return ProfileView(
        name=profile.name,
        language=says.language,
        description=says.description,
        available=image is not None,
        default=says.limits.default,
        maximum=says.limits.maximum,
        image=image,
        packages={**built} if built else dict.fromkeys(sorted(says.packages)),
        modules=sorted(says.modules),
        kernel_boundary=kernel,
        sessions=says.sessions,
    )
