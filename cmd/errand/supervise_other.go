//go:build !linux

package main

import (
	"os"
	"syscall"
)

// Commands need Linux: elsewhere nothing guarantees that they end with the server.
const canSupervise = false

func supervise([]string) int { return exitError }

func detached() *syscall.SysProcAttr { return nil }

func killGroup(int) {}

func unread(*os.File) int { return 0 }
