"""The command that lists the networks: models."""


def models() -> None:
    """List the networks that can be trained."""
    from pellucid.models import MODELS

    for name, model in MODELS.items():
        print(f"{name}: {model.phrase}")
    print("hf:NAME_OR_FOLDER: pretrained by others, with a new last layer; needs 'pellucid[pretrained]'")
