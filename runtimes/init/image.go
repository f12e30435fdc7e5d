package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

const (
	// The entry point of AWS's base images. Where an image's own settings are to count, which only the kubelet knows, init
	// lies in its place, and is given the image's arguments.
	entryPoint = "/lambda-entrypoint.sh"
	takeWord   = "take"
	// An entry point is a script that starts something.
	maxTaken = 1 << 20
)

// image is what the container has from its image.
type image struct {
	variables []string
	directory string
	arguments []string // of its entry point, if init is in the place of that
}

func imageOfContainer() image {
	var found image
	for _, variable := range os.Environ() {
		// The kubelet's, and the container engine's.
		if !strings.HasPrefix(variable, "KUBERNETES_") && !strings.HasPrefix(variable, "HOSTNAME=") {
			found.variables = append(found.variables, variable)
		}
	}
	found.directory, _ = os.Getwd()
	if os.Args[0] == entryPoint {
		found.arguments = os.Args[1:]
	}
	return found
}

// variables are those of an environment: those that it is told; in an image of the user's over the image's, and those
// over what each environment has.
func (p *program) variables(told map[string]string) map[string]string {
	merged := map[string]string{}
	if p.settings.Inherit != nil {
		for name, value := range p.settings.Inherit {
			merged[name] = value
		}
		for _, variable := range p.image.variables {
			name, value, _ := strings.Cut(variable, "=")
			merged[name] = value
		}
	}
	for name, value := range told {
		merged[name] = value
	}
	delete(merged, channelName)
	return merged
}

// take copies an image's entry point out of it, to where it is found when init lies in its place.
func take(arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("take: where to?")
	}
	from, err := os.OpenFile(entryPoint, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would keep us waiting
	if errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("the image has no %s; name its entry point in the image's configuration", entryPoint)
	}
	if err != nil {
		return err
	}
	script, err := io.ReadAll(io.LimitReader(from, maxTaken+1))
	if err != nil {
		return err
	}
	if len(script) > maxTaken {
		return fmt.Errorf("the image's %s is no script; name its entry point in the image's configuration", entryPoint)
	}
	if err := os.WriteFile(arguments[0], script, 0o755); err != nil {
		return err
	}
	return os.Chmod(arguments[0], 0o755) // whatever the mask
}
