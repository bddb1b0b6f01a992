"""What this computer can do: precisions, compilers, memory, profiles. Nothing here knows of lenses."""
