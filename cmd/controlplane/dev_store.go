package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	devBucket    = "odoo-backups"
	devRegion    = "us-east-1" // what the server takes itself to be in; it refuses other signatures
	devStoreKeys = "dev"       // the access key, which is no secret
	devStoreOff  = "off"
	devStoreFile = "versitygw" // beside this program
)

// ownStore reports whether backups are kept on this machine, as nobody configured another place and DEV_S3_LISTEN isn't "off".
func (d *dev) ownStore() bool {
	return d.user["S3_ACCESS_KEY"] == "" && d.user["S3_ACCESS_KEY_FILE"] == "" && d.user["SPACES_ACCESS_KEY"] == "" && d.setting("DEV_S3_LISTEN") != devStoreOff
}

// prepareStore makes the store's folders and says where it will be.
func (d *dev) prepareStore() error {
	if !d.ownStore() {
		if d.user["S3_SECRET_KEY"] == "" {
			delete(d.environ, "S3_SECRET_KEY") // what was made up is for our own store
		}
		return nil
	}
	if _, err := os.Stat(storeProgram()); errors.Is(err, fs.ErrNotExist) {
		d.say("no backups: %s isn't there; \"make run\" builds it", storeProgram())
		d.environ["DEV_S3_LISTEN"] = devStoreOff
		return nil
	}
	for _, dir := range []string{d.state.path("s3", "data", devBucket), d.state.path("s3", "iam")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the folders of the backup store: %w", err)
		}
	}
	d.environ["S3_ENDPOINT"] = "http://" + d.setting("DEV_S3_LISTEN")
	d.environ["S3_REGION"] = devRegion
	d.environ["S3_BUCKET"] = devBucket
	d.environ["S3_ACCESS_KEY"] = devStoreKeys
	return nil
}

func storeProgram() string {
	self, err := os.Executable()
	if err != nil {
		return devStoreFile
	}
	return filepath.Join(filepath.Dir(self), devStoreFile)
}

// store is the S3 server on this machine.
func (d *dev) store() child {
	return child{
		name: "s3", program: storeProgram(),
		args: []string{"--quiet", "--port", d.setting("DEV_S3_LISTEN"), "--iam-dir", d.state.path("s3", "iam"), "posix", d.state.path("s3", "data")},
		env:  []string{"ROOT_ACCESS_KEY_ID=" + devStoreKeys, "ROOT_SECRET_ACCESS_KEY=" + d.setting("S3_SECRET_KEY")},
	}
}
