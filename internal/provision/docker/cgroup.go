package docker

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// readCgroup reads a container's counters from the kernel, which works when we are on the engine's machine: there it takes no time, while
// the engine takes a second, and Docker 20.10 on a new kernel tells zeros. It reports false when the process isn't visible, or
// isn't the container's; then the engine has to be asked. root is "/".
func readCgroup(root fs.FS, pid int, id string) (counters, bool) {
	proc := path.Join("proc", strconv.Itoa(pid))
	groups, ok := cgroupPaths(text(root, path.Join(proc, "cgroup")), id)
	if !ok {
		return counters{}, false
	}
	c := counters{at: time.Now()}
	if memory, v1 := groups["memory"]; v1 {
		ok = c.readV1(root, memory, groups)
	} else {
		ok = c.readV2(root, path.Join("sys/fs/cgroup", groups[""]))
	}
	c.received, c.sent = parseNetDev(text(root, path.Join(proc, "net/dev")))
	return c, ok
}

// cgroupPaths maps controllers ("" is version 2's) to paths. It reports false unless they are those of container id.
func cgroupPaths(content, id string) (map[string]string, bool) {
	groups := map[string]string{}
	for line := range strings.Lines(content) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || id == "" || !strings.Contains(parts[2], id) {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			groups[controller] = parts[2]
		}
	}
	return groups, len(groups) > 0
}

func (c *counters) readV1(root fs.FS, memory string, groups map[string]string) bool {
	in := func(controller, file string) string {
		return text(root, path.Join("sys/fs/cgroup", controller, groups[controller], file))
	}
	usage, ok := number(text(root, path.Join("sys/fs/cgroup/memory", memory, "memory.usage_in_bytes")))
	c.memory = withoutCache(usage, keyed(in("memory", "memory.stat"), "total_inactive_file"))
	cpu, cpuOK := number(in("cpuacct", "cpuacct.usage"))
	c.cpu = time.Duration(cpu)
	pids, _ := number(in("pids", "pids.current"))
	c.pids = int(pids)
	for line := range strings.Lines(in("blkio", "blkio.throttle.io_service_bytes_recursive")) { // "8:0 Read 4096"
		fields := strings.Fields(line)
		if len(fields) == 3 {
			n, _ := number(fields[2])
			c.addBlock(fields[1], n)
		}
	}
	return ok && cpuOK
}

func (c *counters) readV2(root fs.FS, dir string) bool {
	usage, ok := number(text(root, path.Join(dir, "memory.current")))
	c.memory = withoutCache(usage, keyed(text(root, path.Join(dir, "memory.stat")), "inactive_file"))
	cpu := text(root, path.Join(dir, "cpu.stat"))
	c.cpu = time.Duration(keyed(cpu, "usage_usec")) * time.Microsecond
	pids, _ := number(text(root, path.Join(dir, "pids.current")))
	c.pids = int(pids)
	for field := range strings.FieldsSeq(text(root, path.Join(dir, "io.stat"))) { // "8:0 rbytes=4096 wbytes=0 …"
		key, value, _ := strings.Cut(field, "=")
		n, _ := number(value)
		switch key {
		case "rbytes":
			c.addBlock("read", n)
		case "wbytes":
			c.addBlock("write", n)
		}
	}
	return ok && cpu != ""
}

// parseNetDev adds up what came in and went out on all interfaces but the loopback.
func parseNetDev(content string) (received, sent int64) {
	for line := range strings.Lines(content) {
		name, rest, ok := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if !ok || strings.TrimSpace(name) == "lo" || len(fields) < 9 {
			continue
		}
		in, _ := number(fields[0])
		out, _ := number(fields[8])
		received, sent = received+in, sent+out
	}
	return received, sent
}

// text returns nothing for a file that can't be read: that the kernel keeps no such count is an answer, too.
func text(root fs.FS, name string) string {
	content, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return string(content)
}

func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil
}

// keyed returns the number after key in lines of "key number".
func keyed(content, key string) int64 {
	for line := range strings.Lines(content) {
		if rest, ok := strings.CutPrefix(line, key+" "); ok {
			n, _ := number(rest)
			return n
		}
	}
	return 0
}
