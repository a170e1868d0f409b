package backup

import "controlplane/internal/errs"

// advice is what operators can do about what an owner reads of a backup that failed; "" where the message says all there is to say.
func advice(text string) string {
	for _, a := range []struct {
		of   *errs.Error
		todo string
	}{
		{ErrStoreUnreachable, "Look whether the S3 server answers at S3_ENDPOINT, and whether it or the line to it is slow."},
		{ErrStoreRefused, "Compare S3_ACCESS_KEY, S3_SECRET_KEY, S3_BUCKET and S3_REGION with what the S3 server knows, and this machine's clock with its."},
		{ErrStoreFull, "Make room in the S3 server or raise the bucket's quota."},
		{ErrObjectMissing, "Look whether S3_BUCKET and S3_PREFIX are those of before."},
		{ErrDatabaseUnreachable, "Look whether the tenants' database server answers at EXTERNAL_DB_HOST."},
		{ErrToolVersion, "Set POSTGRES_IMAGE to an image of the tenants' server's version."},
		{ErrVolumeGone, "See docs/recovery.md: the client's newest full backup can be restored."},
		{ErrFilesMissing, "Its Odoo lost attachments: look at the volume, or restore an earlier full backup."},
	} {
		if text == a.of.Message {
			return " " + a.todo
		}
	}
	return ""
}
