//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/highlander-io/highlander/test/harness"
)

// ownMounts marks a process whose mount namespace is its own.
const ownMounts = "HIGHLANDER_FAULTS_MOUNTS"

// Disk is a small file system of its own: ext4 on a loop device.
type Disk struct {
	Dir   string
	image string
	small string // where the image is kept, for one that can fail
}

// NewDisk mounts an empty file system at dir until the end of the test. The test's process must have a mount
// namespace of its own, so that the mount cannot outlive it.
func NewDisk(t testing.TB, dir string, mib int) *Disk {
	t.Helper()
	return mountDisk(t, dir, t.TempDir(), mib)
}

// NewFailingDisk is NewDisk over a store that can be made to run out of space: what is then written to the disk fails, as
// with a thin volume or a dying drive.
func NewFailingDisk(t testing.TB, dir string, mib int) *Disk {
	t.Helper()
	small := t.TempDir()
	if os.Getenv(ownMounts) != "" {
		if err := unix.Mount("tmpfs", small, "tmpfs", 0, fmt.Sprintf("size=%dm", mib/2)); err != nil {
			t.Skipf("NOT TESTED: no tmpfs here: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", small, err)
			}
		})
	}
	d := mountDisk(t, dir, small, mib)
	d.small = small
	return d
}

func mountDisk(t testing.TB, dir, at string, mib int) *Disk {
	t.Helper()
	if os.Getenv(ownMounts) == "" {
		t.Skip("NOT TESTED: no mount namespace of its own (root is needed)")
	}
	d := &Disk{Dir: dir, image: filepath.Join(at, "disk.img")}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, int64(mib)<<20)); err != nil {
		t.Fatal(err)
	}
	if err := d.format(); err != nil {
		t.Skipf("NOT TESTED: no loop mounts here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return d
}

// format makes an empty file system and mounts it.
func (d *Disk) format() error {
	return errors.Join(run("mkfs.ext4", "-q", "-F", "-m", "0", d.image), run("mount", "-o", "loop", d.image, d.Dir))
}

func run(program string, args ...string) error {
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", program, args, err, out)
	}
	return nil
}

// Break lets whatever is written to new places of the disk fail from now on.
func (d *Disk) Break() error {
	return fill(filepath.Join(d.small, "ballast"), d.small, 0)
}

// Mend ends Break, as an administrator would: nobody may use the disk, and its file system is checked.
func (d *Disk) Mend() error {
	err := errors.Join(os.Remove(filepath.Join(d.small, "ballast")), d.unmount())
	var exit *exec.ExitError
	if check := run("e2fsck", "-fy", d.image); check != nil && (!errors.As(check, &exit) || exit.ExitCode() > 1) { // 1: mended
		err = errors.Join(err, check)
	}
	return errors.Join(err, run("mount", "-o", "loop", d.image, d.Dir))
}

// unmount waits until no loop device holds the image any more: whoever else looks at the device, as udev does, keeps it for
// a moment, and the next mount would find what was there before.
func (d *Disk) unmount() error {
	if err := unix.Unmount(d.Dir, 0); err != nil {
		return err
	}
	return harness.Poll(harness.Patience, func() error {
		files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		for _, file := range files {
			if backing, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(backing)) == d.image {
				return fmt.Errorf("%s is still %s", file, d.image)
			}
		}
		return err
	})
}

// Replace puts a new disk in the place of this one, which nobody uses any more.
func (d *Disk) Replace() error {
	info, err := os.Stat(d.image)
	if err != nil {
		return err
	}
	return errors.Join(d.unmount(), os.Truncate(d.image, 0), os.Truncate(d.image, info.Size()), d.format())
}

// Freeze lets every write to the disk wait until thaw is called, or this process has gone: a disk that hangs.
func (d *Disk) Freeze() (thaw func() error, err error) {
	guard := exec.Command("sh", "-c", `fsfreeze --freeze "$1" && echo frozen && read -r _; fsfreeze --unfreeze "$1"`, "sh", d.Dir)
	hold, err := guard.StdinPipe()
	if err != nil {
		return nil, err
	}
	said, err := guard.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := guard.Start(); err != nil {
		return nil, err
	}
	if _, err := said.Read(make([]byte, 1)); err != nil {
		return nil, errors.Join(fmt.Errorf("freeze %s: %w", d.Dir, err), hold.Close(), guard.Wait())
	}
	return func() error { return errors.Join(hold.Close(), guard.Wait()) }, nil
}

func (d *Disk) ballast() string { return filepath.Join(d.Dir, "somebody-elses-file") }

// Free is the number of bytes that are left.
func (d *Disk) Free() int64 { return free(d.Dir) }

func free(dir string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		panic("BUG: " + err.Error())
	}
	return int64(fs.Bavail) * fs.Bsize
}

// Fill lets somebody else's file take all but some bytes of what is left.
func (d *Disk) Fill(leave int64) error { return fill(d.ballast(), d.Dir, leave) }

func fill(file, dir string, leave int64) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	for step := int64(1 << 20); step >= 1024; {
		if free(dir)-leave < step {
			step /= 2
			continue
		}
		switch err := unix.Fallocate(int(f.Fd()), 0, size, step); {
		case err == nil:
			size += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		default:
			return fmt.Errorf("fill %s: %w", dir, err)
		}
	}
	return nil
}

// Empty gives back what Fill took.
func (d *Disk) Empty() error { return os.Remove(d.ballast()) }
