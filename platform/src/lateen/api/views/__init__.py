"""What answers hold, by resource: domain values as callers see them, without what is only ours."""
