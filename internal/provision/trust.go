package provision

import (
	"fmt"
	"net/netip"
)

// Where a tenant's container has what its connections to the database verify the server by.
const (
	rootPath    = configDir + "/postgresql-root.crt"
	servicePath = configDir + "/pg_service.conf"
	serviceName = "tenants"
)

// verifies reports whether tenants' connections verify the server.
func (s *Service) verifies() bool { return len(s.opts.RootCert) > 0 }

// trustEnvironment has libpq read what connectionFiles writes: Odoo has no options for it.
func (s *Service) trustEnvironment() map[string]string {
	if !s.verifies() {
		return nil
	}
	return map[string]string{"PGSERVICEFILE": servicePath, "PGSERVICE": serviceName}
}

// connectionFiles are odoo.conf and what goes with it. Where no name can be looked up, address is where the server is: the name stays what
// its certificate is compared with.
func (s *Service) connectionFiles(conf []byte, image Image, address netip.Addr) []File {
	files := []File{confFile(conf, image)}
	if !s.verifies() {
		return files
	}
	service := fmt.Sprintf("[%s]\nsslrootcert=%s\n", serviceName, rootPath)
	if address.IsValid() {
		service += "hostaddr=" + address.String() + "\n"
	}
	return append(files,
		File{Path: rootPath, Mode: 0o400, UID: image.UID, GID: image.GID, Content: s.opts.RootCert},
		File{Path: servicePath, Mode: 0o400, UID: image.UID, GID: image.GID, Content: []byte(service)})
}

// hostWithoutNames is what a container connects to that can't look up names, with the server's address if that isn't on this machine.
func (s *Service) hostWithoutNames(host string, address netip.Addr) string {
	if !address.IsValid() || s.verifies() {
		return host
	}
	return address.String()
}
