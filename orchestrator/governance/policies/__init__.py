"""Policy hooks: asked before a step of an approved plan runs, told how it went. The folder `hooks` has ours."""
