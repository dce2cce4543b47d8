//go:build !race

package fsgofer

const raceEnabled = false
