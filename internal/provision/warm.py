# Makes the asset bundles of the login page, of the web client and of reports, which would otherwise be made at the first visit.
qweb = env["ir.qweb"]
for name in ("web.assets_frontend", "web.assets_frontend_minimal", "web.assets_frontend_lazy", "web.assets_web", "web.report_assets_common"):
    qweb._get_asset_bundle(name, css=False, js=True).js()
    qweb._get_asset_bundle(name, css=True, js=False).css()
env.cr.commit()
# Every file that Odoo has written is on a list of its garbage collector, as a file of its own: half of all files that a clone would copy.
env["ir.attachment"]._gc_file_store()
