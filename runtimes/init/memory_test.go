package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Nodes have control groups of version 1 or 2, and a test's machine only one of them.
func TestGroupsOfBothVersions(t *testing.T) {
	layouts := map[string]map[string]string{
		"version 1": {
			"memory/memory.usage_in_bytes": "104857600\n",
			"memory/memory.limit_in_bytes": "167772160\n",
			"memory/memory.stat":           "cache 1\nrss 2\ninactive_file 8388608\nactive_file 2097152\ntotal_inactive_file 1\n",
			"memory/memory.oom_control":    "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
			"cpu/cpu.cfs_quota_us":         "7500\n",
			"cpu/cpu.cfs_period_us":        "100000\n",
		},
		"version 2": {
			"memory.current": "104857600\n",
			"memory.max":     "167772160\n",
			"memory.stat":    "anon 1\nfile 2\ninactive_anon 3\ninactive_file 8388608\nactive_file 2097152\n",
			"memory.events":  "low 0\nhigh 0\nmax 4\noom 3\noom_kill 2\noom_group_kill 1\n",
			"cpu.max":        "7500 100000\n",
		},
	}
	for name, files := range layouts {
		t.Run(name, func(t *testing.T) {
			folder := group(t, files)
			m := openMemory()
			if m.usedKiB() != 100<<10 || m.limitKiB != 160<<10 {
				t.Errorf("used %d of %d KiB", m.usedKiB(), m.limitKiB)
			}
			if want := uint64(fastestKiB / 1000 * 75); m.rateKiB/1000 != want/1000 {
				t.Errorf("%d KiB a second, not %d", m.rateKiB, want)
			}
			// What the kernel can give back counts as left.
			if left := m.leftKiB(&program{}, m.usedKiB()); left != (160-100+10)<<10-marginKiB {
				t.Errorf("%d KiB left", left)
			}
			if m.kernelKilled() {
				t.Error("what was killed before is not news")
			}
			for path := range files {
				if filepath.Base(path) == "memory.events" || filepath.Base(path) == "memory.oom_control" {
					os.WriteFile(filepath.Join(folder, path), []byte("oom_kill 3\n"), 0o600)
				}
			}
			if !m.kernelKilled() || m.kernelKilled() {
				t.Error("a new one is told once")
			}
		})
	}
}

func TestNoLimitsAndNoGroup(t *testing.T) {
	group(t, map[string]string{"memory.current": "1048576\n", "memory.max": "max\n", "cpu.max": "max 100000\n"})
	if m := openMemory(); m.limitKiB != noLimitKiB || m.rateKiB < fastestKiB || m.leftKiB(&program{}, m.usedKiB()) < m.rateKiB {
		t.Errorf("%+v", m)
	}
	group(t, nil)
	if m := openMemory(); m.usage != -1 || m.usedKiB() != 0 || m.kernelKilled() {
		t.Errorf("%+v", m)
	}
}

// An idle function is looked at a few times a second, one that is near its limit a hundred times as often.
func TestPace(t *testing.T) {
	folder := group(t, map[string]string{"memory.current": "31457280\n", "memory.max": "167772160\n", "memory.stat": "", "cpu.max": "7500 100000\n"})
	m := openMemory()
	p := &program{settings: &settings{MemoryKiB: 128 << 10, Processes: 256}}
	now := time.Now()
	for range 3 {
		now = now.Add(m.watch(p, now))
	}
	if wait := m.watch(p, now); wait < 150*time.Millisecond {
		t.Errorf("idle, and %v until the next look", wait)
	}
	os.WriteFile(filepath.Join(folder, "memory.current"), []byte("162529280\n"), 0o600)
	now = now.Add(latest)
	if wait := m.watch(p, now); wait > 5*time.Millisecond {
		t.Errorf("nearly full, and %v until the next look", wait)
	}
}

func group(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	was := cgroups
	t.Cleanup(func() { cgroups = was })
	cgroups = folder + "/"
	for path, text := range files {
		os.MkdirAll(filepath.Dir(filepath.Join(folder, path)), 0o700)
		if err := os.WriteFile(filepath.Join(folder, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func eventually(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	for range 1000 {
		if isSo() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it did not happen: ", what)
}
