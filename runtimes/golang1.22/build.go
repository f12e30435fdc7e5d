// Builds a Go source: compiles the package at its root to `bootstrap`, a static program without the paths it was built at.
//
// Run by `go run` in a copy of the source. A source without a go.mod, such as a single file, gets the one that lies
// beside this file in module/, which has AWS's client; what else it imports is looked up.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	arguments := []string{"build", "-trimpath", "-buildvcs=false", "-tags=lambda.norpc", "-ldflags=-s -w -buildid="}
	if _, err := os.Stat("go.mod"); errors.Is(err, os.ErrNotExist) {
		for _, name := range []string{"go.mod", "go.sum"} {
			content, err := os.ReadFile(filepath.Join(os.Args[1], name))
			if err == nil {
				err = os.WriteFile(name, content, 0o644)
			}
			check(err)
		}
		arguments = append(arguments, "-mod=mod")
	}
	arguments = append(arguments, "-o", filepath.Join(os.Getenv("LATEEN_BUILD_OUTPUT"), "bootstrap"), ".")
	compile := exec.Command("go", arguments...)
	compile.Stdout, compile.Stderr = os.Stdout, os.Stderr
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	var failed *exec.ExitError
	if err := compile.Run(); errors.As(err, &failed) {
		os.Exit(failed.ExitCode())
	} else {
		check(err)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
