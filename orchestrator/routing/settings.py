"""What routing may be told."""

from pydantic import Field

from orchestrator.contracts.model import Model


class DeniedGroup(Model):
    """A group of things that nobody gets by asking for them in words."""

    keywords: list[str] = Field(description="Words and phrases, case ignored, that put a query into the group.")


OFFENSIVE_SECURITY = DeniedGroup(
    keywords=[
        "exploit",
        "exploits",
        "malware",
        "ransomware",
        "keylogger",
        "rootkit",
        "botnet",
        "backdoor",
        "trojan",
        "reverse shell",
        "shellcode",
        "ddos",
        "denial of service attack",
        "port scanner",
        "port scan",
        "sql injection attack",
        "brute force password",
        "brute force passwords",
        "crack password",
        "crack passwords",
        "password cracker",
        "phishing",
        "credential stuffing",
        "privilege escalation",
        "metasploit",
        "mimikatz",
        "zero day",
        "hack into",
        "penetration test",
        "pentest",
        "spyware",
        "cryptojacking",
        "arp spoofing",
        "packet sniffer",
        "steal credentials",
        "steal passwords",
        "vulnerability scanner",
        "scan network",
        "scan the network",
    ]
)


class RoutingSettings(Model):
    """Which queries go nowhere."""

    denied: dict[str, DeniedGroup] = Field(
        {"offensive_security": OFFENSIVE_SECURITY},
        description="Groups of keywords that refuse a query where words decide.",
    )
    disabled_intents: list[str] = Field([], description="Intents that nobody gets, whoever asks.")
    near_misses: int = Field(5, ge=0, le=50, description="How many near plugins a `no_route` names.")
