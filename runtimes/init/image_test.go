package main

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// What an environment sees of an image: its variables over what each has, what it is told over both, and nothing of the
// kubelet's. Of any other runtime's image it sees nothing.
func TestVariablesOfAnImage(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	t.Setenv("HOSTNAME", "pod")
	t.Setenv("LANG", "of-the-image")
	t.Setenv("MINE", "of=the=image")
	p := &program{image: imageOfContainer(), settings: &settings{Inherit: map[string]string{"LANG": "x", "TZ": ":UTC"}}}
	told := map[string]string{"MINE": "told", channelName: "7"}
	found := p.variables(told)
	for name, value := range map[string]string{"LANG": "of-the-image", "TZ": ":UTC", "MINE": "told"} {
		if found[name] != value {
			t.Errorf("%s is %q", name, found[name])
		}
	}
	for _, name := range []string{"KUBERNETES_SERVICE_HOST", "HOSTNAME", channelName} {
		if value, is := found[name]; is {
			t.Errorf("%s is %q", name, value)
		}
	}
	p.settings.Inherit = nil
	if found := p.variables(told); !maps.Equal(found, map[string]string{"MINE": "told"}) {
		t.Errorf("%v", found)
	}
}

// Without a folder that is told, environments start where the image says; any other runtime has to be told one.
func TestWorkingDirectory(t *testing.T) {
	here, _ := os.Getwd()
	given := func(root string, inherit map[string]string) *settings {
		return &settings{Tmp: t.TempDir(), TaskRoot: root, Inherit: inherit, Command: []string{"x"}, MemoryKiB: 1, Processes: 1}
	}
	p := &program{image: imageOfContainer(), connection: -1}
	if p.configure(given("", nil)) == nil {
		t.Error("no folder")
	}
	if err := p.configure(given("", map[string]string{})); err != nil || p.settings.TaskRoot != here {
		t.Error(err, p.settings)
	}
	if err := p.configure(given("/told", map[string]string{})); err != nil || p.settings.TaskRoot != "/told" {
		t.Error(err, p.settings)
	}
}

// The refusal says what to do, for it is what people are shown.
func TestTakeFromAnotherImage(t *testing.T) {
	err := take([]string{filepath.Join(t.TempDir(), "taken")})
	if err == nil || err.Error() != "the image has no /lambda-entrypoint.sh; name its entry point in the image's configuration" {
		t.Error(err)
	}
}
