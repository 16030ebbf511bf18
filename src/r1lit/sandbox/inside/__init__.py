"""What runs inside the sandbox: standard library only, and nothing of r1lit but these modules."""
